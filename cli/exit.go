package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

// The exit codes that scripts rely on.
const (
	exitOK          = 0
	exitFailed      = 1 // the world is wrong
	exitUsage       = 2 // the command line is wrong, and nothing was touched
	exitDegraded    = 3 // done in part
	exitNoBackup    = 4 // no reachable place has that id
	exitDamage      = 5 // stored bytes are not the ones that were stored
	exitBusy        = 6 // another run of this job
	exitInterrupted = 130
)

// errInterrupted is the cause of what ends because a person wants it to.
var errInterrupted = errors.New("interrupted")

// An interruption says what can be gone on with. What failed because of it is
// left out: it is what was asked for. Posts run all the same, and what went wrong
// there is not.
type interruption struct {
	next  string
	posts error
}

func interrupted(next string, err error) error {
	if i := (interruption{}); errors.As(err, &i) {
		return i // which knows more
	}
	i := interruption{next: next}
	if posts := (*core.PostError)(nil); errors.As(err, &posts) {
		i.posts = posts
	}
	return i
}

func (i interruption) Error() string {
	text := errInterrupted.Error()
	if i.next != "" {
		text += ": " + i.next
	}
	if i.posts != nil {
		text = i.posts.Error() + "\n" + text
	}
	return text
}

func (i interruption) Unwrap() error { return errInterrupted }

// A usageError is of the command line: nothing was touched.
type usageError struct {
	err     error
	command string // whose help says more; "" while unknown
}

// Error leaves out that it is invalid: that is said by what follows.
func (u usageError) Error() string {
	if e, ok := u.err.(*core.Error); ok && e.Kind == core.ErrInvalid && e.Detail != "" {
		return e.Detail
	}
	return u.err.Error()
}

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

// A told error was said when it happened: what is left of it is its code.
type told int

func (told) Error() string { return "" }

// worse are the codes of a command of several parts, the worst first: it ends with
// the worst of them.
var worse = []int{exitInterrupted, exitFailed, exitUsage, exitDamage, exitNoBackup, exitBusy, exitDegraded, exitOK}

func worst(a, b int) int {
	if slices.Index(worse, a) < slices.Index(worse, b) {
		return a
	}
	return b
}

func (r result) Error() string { return r.err.Error() }
func (r result) Unwrap() error { return r.err }

// exitCode is the code of what a command returned. The first case that fits
// counts: a person's wish before what it led to, and of several reasons the one
// that needs somebody's attention most.
func exitCode(err error) int {
	r, u, t := result{}, usageError{}, told(0)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &t):
		return int(t)
	case errors.As(err, &r):
		return r.code
	case errors.Is(err, platform.ErrBusy):
		return exitBusy
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
