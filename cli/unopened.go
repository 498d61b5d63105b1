package cli

import (
	"context"
	"iter"

	"github.com/offsite-backup/offsite/core"
)

// An unopened agent stands for one that cannot be opened now, and answers why: the
// others do their part meanwhile.
type unopened struct {
	name string
	err  error
}

func (u unopened) why(op string, id core.ID) error {
	kind := core.KindOf(u.err)
	if kind == "" {
		kind = core.ErrUnavailable
	}
	return &core.Error{Kind: kind, Agent: u.name, Op: op, ID: id, Detail: "it could not be opened", Err: u.err}
}

func (u unopened) Name() string { return u.name }
func (u unopened) Close() error { return nil }

func (u unopened) Upload(_ context.Context, src core.Source) error {
	return u.why("upload", src.Draft().ID)
}

func (u unopened) Open(_ context.Context, id core.ID) (core.Archive, error) {
	return nil, u.why("open", id)
}

func (u unopened) List(context.Context) iter.Seq2[core.Backup, error] {
	return func(yield func(core.Backup, error) bool) { yield(core.Backup{}, u.why("list", "")) }
}

func (u unopened) Get(_ context.Context, id core.ID) (core.Backup, error) {
	return core.Backup{}, u.why("get", id)
}

func (u unopened) Delete(_ context.Context, id core.ID) error { return u.why("delete", id) }

func (u unopened) Sweep(context.Context, func(core.ID) bool) iter.Seq2[core.Leftover, error] {
	return func(yield func(core.Leftover, error) bool) { yield(core.Leftover{}, u.why("sweep", "")) }
}

// Examine finds that.
func (u unopened) Examine(context.Context) iter.Seq2[core.Finding, error] {
	return func(yield func(core.Finding, error) bool) {
		yield(core.Finding{What: "open", Verdict: core.VerdictFailed, Err: u.err}, nil)
	}
}
