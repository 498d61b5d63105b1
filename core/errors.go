package core

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// An ErrorKind says what an error means to a caller. The kinds are constants and
// errors themselves: errors.Is(err, core.ErrNotFound).
type ErrorKind string

// The kinds. Every error of an agent is of one of them, or the context's, or
// the source's own.
const (
	ErrNotFound        ErrorKind = "not found"       // no such backup; also fs.ErrNotExist
	ErrExists          ErrorKind = "exists"          // the id is taken by other bytes, or was deleted; also fs.ErrExist
	ErrDenied          ErrorKind = "denied"          // known to the place, but without the right; also fs.ErrPermission
	ErrUnauthenticated ErrorKind = "unauthenticated" // the place does not accept who we say we are
	ErrThrottled       ErrorKind = "throttled"       // too much at once; Error.RetryAfter where the place says when
	ErrNoSpace         ErrorKind = "no space"        // the place or a quota is full
	ErrNoPlace         ErrorKind = "no such place"   // the bucket, container or directory itself is not there
	ErrDamaged         ErrorKind = "damaged"         // stored bytes are not the ones that were stored
	ErrChanged         ErrorKind = "changed"         // the source, or the stored object, changed underneath
	ErrLocked          ErrorKind = "locked"          // the place protects it until a date
	ErrClock           ErrorKind = "clock"           // this clock and the place's differ too much
	ErrUnavailable     ErrorKind = "unavailable"     // no answer, or none that means anything; may pass
	ErrUnsupported     ErrorKind = "unsupported"     // the place, or this version, cannot do it
	ErrInvalid         ErrorKind = "invalid"         // refused before anything was asked
	ErrClosed          ErrorKind = "closed"          // the agent was closed; also fs.ErrClosed
)

// Error returns the kind's words.
func (k ErrorKind) Error() string { return string(k) }

// Is makes the kinds that the standard library knows answer to its errors.
func (k ErrorKind) Is(target error) bool {
	switch k {
	case ErrNotFound: // not ErrNoPlace: a disk that is not mounted says nothing of its files
		return target == fs.ErrNotExist
	case ErrExists:
		return target == fs.ErrExist
	case ErrDenied:
		return target == fs.ErrPermission
	case ErrClosed:
		return target == fs.ErrClosed
	}
	return false
}

// Temporary says whether the same call may succeed later without anybody's help.
func (k ErrorKind) Temporary() bool { return k == ErrThrottled || k == ErrUnavailable }

// An Error is an error of an agent. Its fields hold no secret: whoever fills
// them takes care of it.
type Error struct {
	Kind       ErrorKind
	Agent      string        // Agent.Name
	Op         string        // "upload", "open", "read", "list", "get", "delete", "sweep", "examine"
	ID         ID            // empty where the whole place is meant
	Detail     string        // what a person needs besides: a key, a date, what to do
	Code       string        // the provider's code, where it has one
	RequestID  string        // the provider's request id, where it has one
	RetryAfter time.Duration // what the place asked for; 0 where it asked nothing
	Until      time.Time     // of ErrLocked: when the protection ends, where that is known
	Err        error         // the cause, if any
}

// Error says what was done, where, and why it did not work.
func (e *Error) Error() string {
	var b strings.Builder
	for _, s := range []string{e.Agent, e.Op, string(e.ID)} {
		if s != "" {
			b.WriteString(s)
			b.WriteString(": ")
		}
	}
	b.WriteString(string(e.Kind))
	for _, s := range []string{e.Detail, e.provider(), e.cause()} {
		if s != "" {
			b.WriteString(": ")
			b.WriteString(s)
		}
	}
	return b.String()
}

func (e *Error) provider() string {
	switch {
	case e.Code != "" && e.RequestID != "":
		return fmt.Sprintf("%s (request %s)", e.Code, e.RequestID)
	case e.RequestID != "":
		return fmt.Sprintf("request %s", e.RequestID)
	}
	return e.Code
}

func (e *Error) cause() string {
	if e.Err == nil || e.Err == error(e.Kind) {
		return ""
	}
	return e.Err.Error()
}

// Unwrap makes errors.Is and errors.As see the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// KindOf returns the kind of err, or "" for an error that has none, such as the
// context's or a source's.
func KindOf(err error) ErrorKind {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Kind
	}
	k := ErrorKind("")
	errors.As(err, &k)
	return k
}

// Errorf makes an Error of a kind whose detail is the formatted text; %w keeps
// the cause.
func Errorf(kind ErrorKind, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Detail: err.Error(), Err: hidden{err}}
}

// hidden keeps a cause whose text already stands in the detail.
type hidden struct{ err error }

func (h hidden) Error() string { return "" }
func (h hidden) Unwrap() error { return h.err }
