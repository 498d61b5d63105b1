package core

import (
	"context"
	"iter"
)

// An Examiner is an Agent that can find out what its place grants, and how it is set
// up, before a backup depends on it.
type Examiner interface {
	// Examine stores, reads, lists and removes scratch objects of a few bytes, apart
	// from all backups, and yields what it found as it goes on: a Finding for each
	// right that uploads, lists, restores and deletes need, one for the clock, and
	// those of what else can be seen. It needs no right that those do not need. A place
	// that does not answer, or does not let anybody in, is a Finding too, and the last.
	//
	// Credentials that may not delete are meant to be: VerdictNote. What of the scratch
	// objects could not be removed is said, and Sweep finds it.
	//
	// An error is the context's or ErrClosed, and ends the sequence.
	Examine(ctx context.Context) iter.Seq2[Finding, error]
}

// A Finding is one thing that was looked at. It holds no secret.
type Finding struct {
	What    string // what was looked at, in a word or two: "write", "clock"
	Verdict Verdict
	Right   string // what the provider calls the right that is missing, such as "s3:PutObject"; "" where it is none, or has no name
	Why     string // what was seen; may be empty where Err is set, or nothing is wrong
	Do      string // what to do about it; "" where there is nothing, or the kind of Err says it all
	Err     error  // what the place answered, of a kind, without the agent's name; nil where that is not what is wrong
}

// A Verdict says how much a Finding matters.
type Verdict string

// The verdicts.
const (
	VerdictOK      Verdict = "ok"      // as it should be
	VerdictNote    Verdict = "note"    // nothing is wrong if it is meant to be so
	VerdictWarning Verdict = "warning" // backups are made, and something will go wrong one day
	VerdictFailed  Verdict = "failed"  // backups are not made, or not read
)
