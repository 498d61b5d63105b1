package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/offsite-backup/offsite/core"
)

// An Error is one thing that is wrong in a configuration. It is core.ErrInvalid,
// and holds no secret.
type Error struct {
	File   string // as it was named
	Line   int    // from 1; 0 where the file as a whole is meant
	Column int    // from 1, in characters
	Key    string // "jobs.web1.hooks[0].timeout"; "" where none is meant
	Text   string // what is wrong, and what to do
}

// Error says where, and what is wrong: "offsite.yaml:3:5: agents.disk: …".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	if e.Key != "" {
		b.WriteString(": " + e.Key)
	}
	return b.String() + ": " + e.Text
}

// Unwrap is core.ErrInvalid.
func (e *Error) Unwrap() error { return core.ErrInvalid }

// Errors are all that is wrong in a configuration, in the order of the file; never
// empty.
type Errors []*Error

// Error has a line for each.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns each.
func (es Errors) Unwrap() []error {
	all := make([]error, len(es))
	for i, e := range es {
		all[i] = e
	}
	return all
}

// err is es in order, or nil where there are none.
func (es Errors) err() error {
	if len(es) == 0 {
		return nil
	}
	slices.SortStableFunc(es, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return es
}

// detail is what a kind says of its options, without the word "invalid", which
// stands for all of them.
func detail(err error) string {
	if e := (*core.Error)(nil); errors.As(err, &e) && e.Kind == core.ErrInvalid && e.Detail != "" {
		return e.Detail
	}
	return err.Error()
}

// clip keeps a message readable when what it repeats is long.
func clip(s string) string {
	const most = 60
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return string(runes[:most]) + "…"
}
