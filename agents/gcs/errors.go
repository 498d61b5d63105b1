package gcs

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/api/googleapi"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transport"
)

// kinds are what reasons mean where the status does not say it:
// https://cloud.google.com/storage/docs/json_api/v1/status-codes
var kinds = map[string]core.ErrorKind{
	"retentionPolicyNotMet": core.ErrLocked,
	"objectUnderActiveHold": core.ErrLocked,

	"rateLimitExceeded":     core.ErrThrottled,
	"userRateLimitExceeded": core.ErrThrottled,
	"quotaExceeded":         core.ErrNoSpace,

	"authError":              core.ErrUnauthenticated,
	"expired":                core.ErrUnauthenticated,
	"uploadBrokenConnection": core.ErrUnavailable,
}

// An op is what is asked of the server, by the name of its API.
type op string

const (
	opInsert  op = "insert"
	opCompose op = "compose"
	opGet     op = "get"
	opList    op = "list"
	opDelete  op = "delete"
	opBucket  op = "bucket"  // of the bucket itself
	opSession op = "session" // of a session, whose id is its secret
)

// rights are what they need.
var rights = map[op]string{
	opInsert:  "storage.objects.create",
	opCompose: "storage.objects.create and storage.objects.get",
	opGet:     "storage.objects.get, and storage.objects.list to be told what is not there",
	opList:    "storage.objects.list",
	opDelete:  "storage.objects.delete",
	opBucket:  "storage.buckets.get",
}

// A failure is how a request ended, with what it was.
type failure struct {
	of op
	error
}

func (f failure) Unwrap() error { return f.error }

// translate says what an error of a request means. One that has a kind, such as the
// source's, stays as it is.
func translate(of op, err error) error {
	if err == nil || core.KindOf(err) != "" {
		return err
	}
	var answer *googleapi.Error
	if errors.As(err, &answer) {
		return answered(of, answer, err)
	}
	return transport.Unanswered(err, "endpoint")
}

// answered is an error that the server told.
func answered(of op, answer *googleapi.Error, err error) error {
	e := &core.Error{RetryAfter: transport.RetryAfter(answer.Header), Err: transport.Quiet{Cause: failure{of, err}}}
	if len(answer.Errors) > 0 {
		e.Code = answer.Errors[0].Reason
	}
	if of != opSession {
		e.RequestID = answer.Header.Get("X-Guploader-Uploadid")
	}
	said := text(answer)
	e.Kind = kindOf(of, answer.Code, e.Code, said)
	if said == "" {
		said = fmt.Sprintf("an answer with status %d that is not understood", answer.Code)
	}
	e.Detail = strings.TrimSpace(said + " " + advice(of, e.Kind, said, answer))
	return e
}

// text is what the server says in words. To who asks for bytes it says it without JSON.
func text(answer *googleapi.Error) string {
	said := answer.Message
	if said == "" && len(answer.Body) < 1000 && !strings.ContainsAny(answer.Body, "<{\x00") {
		said = answer.Body
	}
	return strings.Join(strings.Fields(said), " ")
}

func kindOf(of op, status int, reason, said string) core.ErrorKind {
	if k, ok := kinds[reason]; ok {
		return k
	}
	switch {
	case status == http.StatusNotFound && (of == opInsert || of == opList || of == opBucket || strings.Contains(said, "bucket does not exist")):
		return core.ErrNoPlace
	case status == http.StatusGone: // a session that has ended
		return core.ErrNotFound
	case status == http.StatusForbidden && (strings.Contains(said, "retention policy") || strings.Contains(said, " hold and cannot be deleted")):
		return core.ErrLocked
	case status == http.StatusBadRequest && strings.Contains(said, "doesn't match calculated"): // a checksum
		return core.ErrDamaged
	}
	return transport.Kind(status)
}

// advice is what a person can do, or "".
func advice(of op, kind core.ErrorKind, said string, answer *googleapi.Error) string {
	switch {
	case answer.Code >= 300 && answer.Code < 400:
		return transport.Moved(answer.Header, "endpoint")
	case kind == core.ErrDenied && rights[of] != "" && !strings.Contains(said, "storage."):
		return "(this needs the right " + rights[of] + ")"
	case strings.Contains(said, "no user project provided"):
		return "(give quota_project)"
	}
	return ""
}
