package sixth

import (
	"context"
	"log/slog"

	"github.com/offsite-backup/offsite/core"
)

// A Kind is the hook kind sixth. It satisfies config.HookKind, and holds nothing that
// changes.
type Kind struct{}

// Options are those of one hook: the exported fields, in snake_case. A password or
// key is a core.Secret.
type Options struct {
	Target string `config:"required"`
}

// Name is the word of a configuration.
func (Kind) Name() string { return "sixth" }

// Config returns new Options.
func (Kind) Config() any { return new(Options) }

// Hook makes a hook of *Options, which must not change from then on. It answers
// core.ErrInvalid for options that do not make one, and touches nothing. log may be
// nil. An action that is not needed stays nil.
func (Kind) Hook(name string, config any, _ *slog.Logger) (core.Hook, error) {
	o, ok := config.(*Options)
	if !ok {
		return core.Hook{}, core.Errorf(core.ErrInvalid, "%s: %T are no options of this kind", name, config)
	}
	if o.Target == "" {
		return core.Hook{}, core.Errorf(core.ErrInvalid, "%s: no target is given", name)
	}
	return core.Hook{Name: name, Pre: o.pre, Post: o.post}, nil
}

// pre pauses the application, or dumps its data into m.Dir, whose files go into the
// archive. It ends with ctx.
func (o *Options) pre(context.Context, core.Moment) error { return o.unwritten(core.Pre) }

// post undoes what pre did, or as much of it as was done: it runs for every pre that
// was started. It ends with ctx.
func (o *Options) post(context.Context, core.Moment) error { return o.unwritten(core.Post) }

// unwritten is what an action answers until it is written.
func (o *Options) unwritten(phase core.Phase) error {
	return core.Errorf(core.ErrUnsupported, "%s is not written yet: %s", phase, o.Target)
}
