package config

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

// Open looks up the secrets of an agent and opens it, with its name and patience.
// env.Limit must be a limiter of a.Limit bytes a second where that is not 0. The
// error is Errors where the configuration is wrong, and else the agent's.
func (a *Agent) Open(ctx context.Context, s Secrets, env core.Env) (core.Agent, error) {
	if a.Limit > 0 && env.Limit == nil {
		return nil, a.options.error(core.Errorf(core.ErrInvalid, "limit: this program does not limit what it sends"))
	}
	d := s.decoder(ctx, a.options)
	c := d.configOf(*a)
	if err := d.end(ctx); err != nil {
		return nil, err
	}
	env.Name, env.Patience = a.Name, a.Patience
	agent, err := c.Open(ctx, env)
	if errors.Is(err, core.ErrInvalid) {
		err = a.options.error(err)
	}
	return agent, err
}

// decoder is one that follows references, of what stands somewhere.
func (s Secrets) decoder(ctx context.Context, at where) *decoder {
	return &decoder{file: at.file, resolve: func(ref reference) (core.Secret, error) { return s.resolve(ctx, ref) }}
}

// end is what was wrong, or that ctx is over: then what was wrong is no fault of
// the file.
func (d *decoder) end(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return d.errs.err()
}

// Hooks looks up the secrets of hooks and makes them, a zero one of each that cannot be
// made. The error is Errors. Whether what they run is there is another question, as it
// may not be tonight: see core.Pipeline.Ready.
//
// A hook that has a post gets a Debt, of which Kinds.Hook makes it again: JSON of
// how it is written, with references to its secrets.
func (s Secrets) Hooks(ctx context.Context, hooks []Hook) (made []core.Hook, err error) {
	var errs Errors
	for _, h := range hooks {
		hook, err := h.open(ctx, s)
		if e := (Errors)(nil); err != nil && !errors.As(err, &e) {
			return nil, err
		} else if err != nil {
			errs = append(errs, e...)
		}
		made = append(made, hook)
	}
	return made, errs.err()
}

// open makes a hook.
func (h Hook) open(ctx context.Context, s Secrets) (hook core.Hook, err error) {
	d := s.decoder(ctx, h.options)
	c := h.kind.Config()
	d.object(h.options.key, h.options.node, reflect.ValueOf(c).Elem())
	if err := d.end(ctx); err != nil {
		return hook, err
	}
	if hook, err = h.kind.Hook(h.Name, c, s.Log); err != nil {
		return core.Hook{}, h.options.error(err)
	}
	hook.Name, hook.Timeout, hook.Optional = h.Name, h.Timeout, h.Optional
	if hook.Post != nil && hook.Debt == nil {
		hook.Debt = appendJSON(nil, h.entry)
	}
	return hook, nil
}

// unready is what a hook that was made lacks for any of its actions. The error is
// Errors.
func (h Hook) unready(made core.Hook) error {
	var errs Errors
	for _, phase := range []core.Phase{core.Pre, core.Post, core.After} {
		if made.Ready == nil {
			continue
		}
		if err := made.Ready(phase); err != nil {
			errs = append(errs, h.options.mistake(fmt.Errorf("hook %s: %s: %w", h.Name, phase, err)))
		}
	}
	return errs.err()
}

// Hook makes the hook again that a Debt is of, in another process: its secrets are
// looked up once more. The error is Errors.
func (ks Kinds) Hook(ctx context.Context, s Secrets, debt []byte) (core.Hook, error) {
	d := &decoder{file: "what is owed", kinds: ks}
	root := d.parse(debt)
	if root == nil || len(d.errs) > 0 {
		return core.Hook{}, d.errs.err()
	}
	h := d.hook("", root)
	if err := d.errs.err(); err != nil {
		return core.Hook{}, err
	}
	return h.open(ctx, s)
}

// Open looks up the secrets of a job's hooks and returns what platform.Platform
// runs. Leave, Trigger and the functions that are told are the caller's; so is it
// that the platform has the agents of j.To, in that order, and no others. The
// error is Errors.
func (j *Job) Open(ctx context.Context, s Secrets) (platform.Job, error) {
	hooks, err := s.Hooks(ctx, j.Hooks)
	if err != nil {
		return platform.Job{}, err
	}
	return j.with(hooks)
}

// with is the job with its hooks.
func (j *Job) with(hooks []core.Hook) (platform.Job, error) {
	holds := len(j.Paths) > 0
	for _, h := range hooks {
		holds = holds || h.Pre != nil
	}
	if !holds {
		return platform.Job{}, j.at.error(errors.New("nothing to back up: give paths, or a hook with a pre that writes into its folder"))
	}
	return platform.Job{
		Name: j.Name, Paths: j.Paths, Exclude: j.Exclude, AllowEmpty: j.AllowEmpty,
		Hooks: hooks, MaxPause: j.MaxPause, Copies: j.Copies, Require: j.Require, Tags: j.Tags,
		KeepPending: j.KeepPending,
	}, nil
}

// Check finds what only opening finds, and does nothing else: it looks up every
// secret, has every agent and hook check its options, and asks every hook whether it is
// ready, without a network and without a folder to write to. The error is Errors.
func (f *File) Check(ctx context.Context, s Secrets) error {
	var all Errors
	add := func(err error) {
		if e := (Errors)(nil); errors.As(err, &e) {
			all = append(all, e...)
		}
	}
	for i := range f.Agents {
		add(f.Agents[i].check(ctx, s))
	}
	checked := func(hooks []Hook) (made []core.Hook, err error) {
		made, err = s.Hooks(ctx, hooks)
		add(err)
		for i, h := range made {
			add(hooks[i].unready(h))
		}
		return made, err
	}
	for i := range f.Jobs {
		if hooks, err := checked(f.Jobs[i].Hooks); err == nil {
			_, err = f.Jobs[i].with(hooks)
			add(err)
		}
		_, _ = checked(f.Jobs[i].Restore.Hooks) // it is added
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return all.err()
}

// check opens the agent behind a wall and closes it. An error that comes from the
// wall is not the configuration's.
func (a *Agent) check(ctx context.Context, s Secrets) error {
	agent, err := a.Open(ctx, s, core.Env{Transport: wall{}, Dial: wall{}.dial, Limit: wall{}})
	switch e := (Errors)(nil); {
	case errors.Is(err, errWall):
		return nil
	case errors.As(err, &e):
		return e
	case err == nil:
		err = agent.Close()
	}
	if err != nil {
		err = a.options.error(err)
	}
	return err
}

// A wall lets nothing through.
type wall struct{}

var errWall = errors.New("a check asks nobody")

func (wall) RoundTrip(*http.Request) (*http.Response, error) { return nil, errWall }

func (wall) dial(context.Context, string, string) (net.Conn, error) { return nil, errWall }

// WaitN lets nothing pass.
func (wall) WaitN(context.Context, int) error { return errWall }
