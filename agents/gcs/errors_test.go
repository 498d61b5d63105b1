package gcs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

const mayNotDelete = "tester@fake.iam.gserviceaccount.com does not have storage.objects.delete access to the Google Cloud Storage object. Permission 'storage.objects.delete' denied on resource (or it may not exist)."

// refusals are what the service answers to what it does not grant.
var refusals = []struct {
	status  int
	reason  string
	message string
	want    core.ErrorKind
}{
	{307, "", "", core.ErrUnsupported},
	{400, "invalid", `Provided CRC32C "AAAAAA==" doesn't match calculated CRC32C "yZRlqg==".`, core.ErrDamaged},
	{400, "invalid", "Invalid argument.", core.ErrUnsupported},
	{400, "required", "Bucket is a requester pays bucket but no user project provided.", core.ErrUnsupported},
	{401, "authError", "Invalid Credentials", core.ErrUnauthenticated},
	{401, "required", "Anonymous caller does not have storage.objects.list access to the Google Cloud Storage bucket.", core.ErrUnauthenticated},
	{403, "forbidden", mayNotDelete, core.ErrDenied},
	{403, "quotaExceeded", "The project is over its quota.", core.ErrNoSpace},
	{403, "rateLimitExceeded", "The project is over its rate.", core.ErrThrottled},
	{403, "userRateLimitExceeded", "User is over its rate.", core.ErrThrottled},
	{403, "retentionPolicyNotMet", "Object 'b/o' is subject to bucket's retention policy or object retention and cannot be deleted or overwritten until 2030-01-01T00:00:00Z", core.ErrLocked},
	{403, "forbidden", "Object 'b/o' is subject to bucket's retention policy and cannot be deleted, overwritten or archived until 2030-01-01T00:00:00Z", core.ErrLocked},
	{403, "objectUnderActiveHold", "Object 'b/o' is under active Temporary hold and cannot be deleted, overwritten or archived until hold is removed.", core.ErrLocked},
	{404, "notFound", "The specified bucket does not exist.", core.ErrNoPlace},
	{404, "notFound", "No such object: b/o", core.ErrNotFound},
	{405, "methodNotAllowed", "Not allowed.", core.ErrUnsupported},
	{408, "requestTimeout", "Too slow.", core.ErrUnavailable},
	{409, "conflict", "Somebody else is at it.", core.ErrUnavailable},
	{410, "gone", "The session is gone.", core.ErrNotFound},
	{412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.", core.ErrExists},
	{416, "requestedRangeNotSatisfiable", "Request range not satisfiable", core.ErrChanged},
	{429, "rateLimitExceeded", "The object exceeded the rate limit for object mutation operations.", core.ErrThrottled},
	{500, "backendError", "Backend Error", core.ErrUnavailable},
	{500, "internalError", "We encountered an internal error. Please try again.", core.ErrUnavailable},
	{501, "notImplemented", "Not implemented.", core.ErrUnsupported},
	{502, "badGateway", "Bad gateway.", core.ErrUnavailable},
	{503, "backendError", "We encountered an internal error. Please try again.", core.ErrUnavailable},
	{503, "uploadBrokenConnection", "The upload broke off.", core.ErrUnavailable},
	{504, "gatewayTimeout", "Gateway timeout.", core.ErrUnavailable},
}

// saying is a store whose server gives one answer.
func saying(t *testing.T, say func(q *http.Request) (*http.Response, error)) *store {
	t.Helper()
	return driver(t, configured(t, "bucket", "endpoint=https://gcs.example&emulator=true"), core.Env{Transport: prove.RoundTripper(say)})
}

// TestKinds goes through what the service answers, in JSON and in words.
func TestKinds(t *testing.T) {
	for _, test := range refusals {
		s := saying(t, func(q *http.Request) (*http.Response, error) {
			return refuse(q, test.status, test.reason, test.message), nil
		})
		s.found.Store(true)
		what := fmt.Sprintf("%d %s %.30s", test.status, test.reason, test.message)
		m := &composite{store: s, key: "data/x", token: "0123456789abcdef"}
		_, err := m.compose(t.Context(), s.resource("data/x", "", 0, 0), nil)
		prove.Kind(t, what, err, test.want)
		var e *core.Error
		if !errors.As(err, &e) || e.Code != test.reason || e.RequestID != requestID || test.reason != "" && strings.Count(err.Error(), test.reason+" (") != 1 {
			t.Errorf("%s: the error is %v, want reason and request once", what, err)
		}
		if err != nil && !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s: %v does not say it", what, err)
		}
		// To who asks for bytes there is no reason.
		_, err = s.Range(t.Context(), object.Object{Key: "data/x", Size: 1, Version: "1"}, 0, 1)
		if got := core.KindOf(err); got != test.want && test.status != http.StatusForbidden && !(got.Temporary() && test.want.Temporary()) {
			t.Errorf("%s to who asks for bytes: %v, want %q", what, err, test.want)
		}
	}
}

// What is not there is the object, or the bucket, by what was asked for.
func TestNotThere(t *testing.T) {
	for _, message := range []string{"Not Found", ""} {
		s := saying(t, func(q *http.Request) (*http.Response, error) { return refuse(q, 404, "notFound", message), nil })
		_, err := s.Stat(t.Context(), "meta/x")
		prove.Kind(t, "a look, where a list finds no bucket", err, core.ErrNoPlace)
		_, err = prove.Put(t.Context(), s, "meta/x", []byte("x"))
		prove.Kind(t, "an upload", err, core.ErrNoPlace)
		s.found.Store(true)
		_, err = s.Stat(t.Context(), "meta/x")
		prove.Kind(t, "a look, where the bucket is known", err, core.ErrNotFound)
		if err := s.Delete(t.Context(), "meta/x"); err != nil {
			t.Errorf("a delete: %v", err)
		}
	}
}

// What a server adds is passed on: when to come again, where to go, which right is
// missing.
func TestAdvice(t *testing.T) {
	for _, test := range []struct {
		status  int
		message string
		header  http.Header
		after   time.Duration
		text    string
	}{
		{503, "By the test.", http.Header{"Retry-After": {"7"}}, 7 * time.Second, "By the test."},
		{429, "", http.Header{"Retry-After": {"Mon, 23 Nov 2026 09:00:30 GMT"}, "Date": {"Mon, 23 Nov 2026 09:00:00 GMT"}}, 30 * time.Second, ""},
		{503, "", http.Header{"Retry-After": {"soon"}}, 0, "an answer with status 503 that is not understood"},
		{307, "", http.Header{"Location": {"https://other.example/b?x"}}, 0, "the server points to https://other.example, and redirects are not followed"},
		{302, "", nil, 0, "look at endpoint"},
		{403, "Forbidden", nil, 0, "(this needs the right storage.objects.list)"},
		{403, mayNotDelete, nil, 0, "Permission 'storage.objects.delete' denied"},
		{400, "Bucket is a requester pays bucket but no user project provided.", nil, 0, "(give quota_project)"},
	} {
		s := saying(t, func(q *http.Request) (*http.Response, error) {
			r := refuse(q, test.status, "", test.message)
			for k, v := range test.header {
				r.Header[k] = v
			}
			return r, nil
		})
		for _, err := range s.List(t.Context(), "meta/", "") {
			var e *core.Error
			if !errors.As(err, &e) || e.RetryAfter != test.after || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%d %v: %v; want %q and %v", test.status, test.header, err, test.text, test.after)
			}
			if strings.Contains(test.message, "storage.objects.delete") && strings.Contains(err.Error(), "storage.objects.list") {
				t.Errorf("%v names another right than the server", err)
			}
		}
	}
}

// TestNoAnswer goes through what happens where no server answers.
func TestNoAnswer(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for what, test := range map[string]struct {
		err  error
		want core.ErrorKind
		text string
	}{
		"refused":     {refused, core.ErrUnavailable, "gcs.example: dial tcp: connect: connection refused"},
		"reset":       {&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, core.ErrUnavailable, "reset by peer"},
		"end":         {io.ErrUnexpectedEOF, core.ErrUnavailable, "unexpected EOF"},
		"no name":     {&net.DNSError{Name: "gcs.example", IsNotFound: true}, core.ErrUnavailable, "there is no host gcs.example: look at endpoint"},
		"certificate": {&tls.CertificateVerificationError{Err: errors.New("x509: unknown")}, core.ErrUnauthenticated, "the certificate of gcs.example is not trusted: x509: unknown (one that is your own is named by ca_bundle)"},
	} {
		s := saying(t, func(*http.Request) (*http.Response, error) { return nil, test.err })
		for _, ask := range []func() error{
			func() error { _, err := s.Stat(t.Context(), "data/x"); return err },
			func() error { _, err := prove.Put(t.Context(), s, "data/x", []byte("x")); return err },
			func() error {
				_, err := s.Range(t.Context(), object.Object{Key: "data/x", Size: 1, Version: "1"}, 0, 1)
				return err
			},
		} {
			err := ask()
			prove.Kind(t, what, err, test.want)
			if err == nil || !strings.Contains(err.Error(), test.text) || !errors.Is(err, test.err) {
				t.Errorf("%s: %v, want %q", what, err, test.text)
			}
		}
	}
}

// Answers that are none are found out.
func TestAnswersThatDoNotFit(t *testing.T) {
	o := object.Object{Key: "data/x", Size: 100, Version: "7"}
	for what, test := range map[string]struct {
		status             int
		generation, ranges string
		n                  int64
		want               core.ErrorKind
	}{
		"what was asked for": {206, "7", "bytes 0-9/100", 10, ""},
		"no generation":      {206, "", "bytes 0-9/100", 10, ""},
		"all of it":          {200, "7", "", 100, ""},
		"another generation": {206, "8", "bytes 0-9/100", 10, core.ErrChanged},
		"another range":      {206, "7", "bytes 10-19/100", 10, core.ErrUnavailable},
		"another size":       {206, "7", "bytes 0-9/99", 10, core.ErrUnavailable},
		"no range":           {200, "7", "", 10, core.ErrUnavailable},
	} {
		s := saying(t, func(q *http.Request) (*http.Response, error) {
			r := refuse(q, test.status, "", "")
			r.Header.Set("X-Goog-Generation", test.generation)
			r.Header.Set("Content-Range", test.ranges)
			return r, nil
		})
		r, err := s.Range(t.Context(), o, 0, test.n)
		prove.Kind(t, what, err, test.want)
		if err == nil {
			_ = r.Close()
		}
	}
	for what, body := range map[string]string{
		"nothing": "", "half": `{"name":"app/meta/x`, "no JSON": "<html>", "no object": "{}",
		"another": `{"name":"app/meta/y","generation":"1","updated":"2026-11-23T09:00:00Z"}`,
		"no time": `{"name":"app/meta/x","generation":"1"}`,
	} {
		s := saying(t, func(q *http.Request) (*http.Response, error) {
			r := refuse(q, 200, "", "")
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			return r, nil
		})
		_, err := prove.Put(t.Context(), s, "meta/x", []byte("x"))
		prove.Kind(t, "an upload that is answered by "+what, err, core.ErrUnavailable)
		for _, err := range s.List(t.Context(), "meta/", "") {
			prove.Kind(t, "a list that is answered by "+what, err, core.ErrUnavailable)
		}
	}
}
