package conformance

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/core"
)

// An Answer is one that a server gives to what it does not grant, as it stands on
// the wire, and what it means.
type Answer struct {
	Kind   core.ErrorKind // of the error that a call ends with, if nothing else is answered
	Status int
	Header http.Header
	Body   string

	// Code and RequestID are what Error.Code and Error.RequestID are then; "" where
	// the answer has none.
	Code, RequestID string

	// Only says to which requests it is an answer; nil means to any but HEAD. With
	// Status 200 it is an answer to a commit that begins as a success, and has the
	// error in its body.
	Only func(fault.Request) bool
}

// String says it to people.
func (a Answer) String() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.Status, a.Code)) + fmt.Sprintf(", which is %q", a.Kind)
}

func (a Answer) to(q fault.Request) bool { return a.Only == nil || a.Only(q) }

// late says that the answer begins as a success.
func (a Answer) late() bool { return a.Status < 300 }

// has says whether the target knows an answer that is so.
func (w *Wire) has(is func(Answer) bool) bool {
	if w == nil {
		return false
	}
	for _, a := range w.Answers {
		if is(a) {
			return true
		}
	}
	return false
}

func anyAnswer(Answer) bool     { return true }
func clockAnswer(a Answer) bool { return a.Kind == core.ErrClock }
