package cli

import (
	"errors"
	"fmt"

	"github.com/offsite-backup/offsite/core"
)

// The exit codes that scripts rely on.
const (
	exitOK          = 0
	exitFailed      = 1 // the world is wrong
	exitUsage       = 2 // the command line is wrong, and nothing was touched
	exitDegraded    = 3 // done in part
	exitNoBackup    = 4 // no reachable place has that id
	exitDamage      = 5 // stored bytes are not the ones that were stored
	exitInterrupted = 130
)

// errInterrupted is the cause of what ends because a person wants it to.
var errInterrupted = errors.New("interrupted")

// An interruption says what can be gone on with. What failed because of it is
// left out: it is what was asked for.
type interruption struct{ next string }

func (i interruption) Error() string {
	if i.next == "" {
		return errInterrupted.Error()
	}
	return errInterrupted.Error() + ": " + i.next
}

func (i interruption) Unwrap() error { return errInterrupted }

// A usageError is of the command line: nothing was touched.
type usageError struct {
	err     error
	command string // whose help says more; "" while unknown
}

func (u usageError) Error() string { return u.err.Error() }
func (u usageError) Unwrap() error { return u.err }

func usagef(format string, args ...any) error {
	return usageError{err: fmt.Errorf(format, args...)}
}

// A result is an error whose code is not told by its kind: a run has its own
// rules, and a place that does not answer is less than a failure in a list.
type result struct {
	code int
	err  error
}

func (r result) Error() string { return r.err.Error() }
func (r result) Unwrap() error { return r.err }

// exitCode is the code of what a command returned. The first case that fits
// counts: a person's wish before what it led to, and of several reasons the one
// that needs somebody's attention most.
func exitCode(err error) int {
	r, u := result{}, usageError{}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &r):
		return r.code
	case errors.As(err, &u):
		return exitUsage
	case errors.Is(err, core.ErrDamaged):
		return exitDamage
	case errors.Is(err, core.ErrInvalid):
		return exitUsage
	case errors.Is(err, core.ErrNotFound):
		return exitNoBackup
	}
	return exitFailed
}
