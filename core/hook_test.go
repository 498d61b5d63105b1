package core_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A diary notes what happens, and when.
type diary struct {
	mu    sync.Mutex
	began time.Time
	lines []string
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// at notes with the seconds since the diary was begun.
func (d *diary) at(what string) { d.note("%s %gs", what, time.Since(d.began).Seconds()) }

func (d *diary) want(t *testing.T, lines ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.lines, lines) {
		t.Errorf("what happened:\n %s\nwant\n %s", strings.Join(d.lines, "\n "), strings.Join(lines, "\n "))
	}
}

// hook notes its pre and post, and returns an error from each when there is one.
func (d *diary) hook(name string, pre, post error) core.Hook {
	return core.Hook{
		Name: name,
		Pre:  func(context.Context, core.Moment) error { d.note("pre %s", name); return pre },
		Post: func(context.Context, core.Moment) error { d.note("post %s", name); return post },
	}
}

func (d *diary) body(err error) func(context.Context, []core.HookRun) error {
	return func(context.Context, []core.HookRun) error { d.note("body"); return err }
}

// TestReady asks each action that a run cannot do without.
func TestReady(t *testing.T) {
	act := func(context.Context, core.Moment) error { return nil }
	told := func(context.Context, core.Moment, core.Result) error { return nil }
	lacks := func(missing ...core.Phase) func(core.Phase) error {
		return func(p core.Phase) error {
			if slices.Contains(missing, p) {
				return errors.New("no such program")
			}
			return nil
		}
	}
	for want, hooks := range map[string][]core.Hook{
		"": {
			{Name: "who knows", Pre: act, Post: act},
			{Name: "all there", Pre: act, Post: act, Ready: lacks()},
			{Name: "tell", After: told, Ready: lacks(core.After)},
			{Name: "none of that", Ready: lacks(core.Pre, core.Post)},
			{Name: "optional", Optional: true, Pre: act, Post: act, Ready: lacks(core.Pre)},
		},
		"hook a: pre: no such program\nhook a: post: no such program\nhook b: post: no such program": {
			{Name: "a", Pre: act, Post: act, Ready: lacks(core.Pre, core.Post)},
			{Name: "b", Optional: true, Pre: act, Post: act, Ready: lacks(core.Pre, core.Post)},
		},
	} {
		err := core.Pipeline{Hooks: hooks}.Ready()
		if got := fmt.Sprint(err); (err != nil) != (want != "") || err != nil && got != want {
			t.Errorf("%s, want %q", got, want)
		}
	}
}

// bubble runs a test whose time is the bubble's.
func bubble(t *testing.T, f func(t *testing.T, d *diary)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, &diary{began: time.Now()}) })
}

var (
	errPre  = errors.New("pre went wrong")
	errPost = errors.New("post went wrong")
	errBody = errors.New("body went wrong")
)

// wantErrors says that err is all of the errors, and names each once.
func wantErrors(t *testing.T, err error, all ...error) {
	t.Helper()
	if len(all) == 0 && err != nil {
		t.Errorf("error %v", err)
	}
	for _, e := range all {
		if !errors.Is(err, e) {
			t.Errorf("%v is not %v", err, e)
		} else if n := strings.Count(err.Error(), e.Error()); n != 1 {
			t.Errorf("%v says %q %d times", err, e, n)
		}
	}
}

func TestPipelineOrder(t *testing.T) {
	var d diary
	p := core.Pipeline{Hooks: []core.Hook{d.hook("a", nil, nil), d.hook("b", nil, nil), d.hook("c", nil, nil)}}
	for range 2 { // one after the other is fine
		wantErrors(t, p.Run(t.Context(), core.Moment{}, d.body(nil)))
		d.want(t, "pre a", "pre b", "pre c", "body", "post c", "post b", "post a")
		d.lines = nil
	}
	wantErrors(t, core.Pipeline{}.Run(t.Context(), core.Moment{}, d.body(nil)))
	d.want(t, "body")
}

func TestPipelineMoments(t *testing.T) {
	run := core.Moment{ID: "a", Job: "web", Phase: "wrong", Dir: "wrong"}
	check := func(m core.Moment, phase core.Phase, err error) {
		want := core.Moment{ID: "a", Job: "web", Phase: phase, Dir: "/hooks/h", Err: m.Err}
		if !reflect.DeepEqual(m, want) || !errors.Is(m.Err, err) {
			t.Errorf("%s gets %+v", phase, m)
		}
	}
	h := core.Hook{
		Name: "h",
		Pre:  func(_ context.Context, m core.Moment) error { check(m, core.Pre, nil); return nil },
		Post: func(_ context.Context, m core.Moment) error { check(m, core.Post, errBody); return nil },
	}
	p := core.Pipeline{Hooks: []core.Hook{h}, Dir: func(name string) string { return "/hooks/" + name }}
	wantErrors(t, p.Run(t.Context(), run, func(context.Context, []core.HookRun) error { return errBody }), errBody)
}

func TestPipelineTellsBodyHowThePresWent(t *testing.T) {
	bubble(t, func(t *testing.T, d *diary) {
		slow, failing, tells := d.hook("slow", nil, nil), d.hook("failing", errPre, nil), core.Hook{Name: "tells"}
		slow.Pre = func(context.Context, core.Moment) error { time.Sleep(3 * time.Second); return nil }
		failing.Optional = true
		tells.After = func(context.Context, core.Moment, core.Result) error { return errBody }
		p := core.Pipeline{Hooks: []core.Hook{slow, tells, failing}}
		wantErrors(t, p.Run(t.Context(), core.Moment{}, func(_ context.Context, runs []core.HookRun) error {
			want := []core.HookRun{{Name: "slow", Status: "ok", Millis: 3000}, {Name: "failing", Status: "failed"}}
			if !slices.Equal(runs, want) {
				t.Errorf("%+v, want %+v", runs, want)
			}
			return nil
		}))
	})
}

func TestPipelineFailures(t *testing.T) {
	optional := func(h core.Hook) core.Hook { h.Optional = true; return h }
	var d diary
	tests := map[string]struct {
		hooks []core.Hook
		body  error
		lines string
		errs  []error
	}{
		"required pre": {
			[]core.Hook{d.hook("a", nil, nil), d.hook("b", errPre, nil), d.hook("c", nil, nil)}, nil,
			"pre a, pre b, post b, post a", []error{errPre},
		},
		"optional pre": {
			[]core.Hook{d.hook("a", nil, nil), optional(d.hook("b", errPre, nil)), d.hook("c", nil, nil)}, nil,
			"pre a, pre b, pre c, body, post c, post b, post a", nil,
		},
		"body": {[]core.Hook{d.hook("a", nil, nil)}, errBody, "pre a, body, post a", []error{errBody}},
		"post": {
			[]core.Hook{d.hook("a", nil, nil), d.hook("b", nil, errPost)}, nil,
			"pre a, pre b, body, post b, post a", []error{errPost},
		},
		"optional post": {
			[]core.Hook{optional(d.hook("a", nil, errPost))}, nil,
			"pre a, body, post a", []error{errPost},
		},
		"body and post": {
			[]core.Hook{d.hook("a", nil, errPost), d.hook("b", nil, nil)}, errBody,
			"pre a, pre b, body, post b, post a", []error{errBody, errPost},
		},
		"pre and its post": {
			[]core.Hook{d.hook("a", errPre, errPost)}, nil,
			"pre a, post a", []error{errPre, errPost},
		},
		"no pre":  {[]core.Hook{{Name: "a", Post: d.hook("a", nil, nil).Post}}, errBody, "body, post a", []error{errBody}},
		"no post": {[]core.Hook{{Name: "a", Pre: d.hook("a", nil, nil).Pre}}, nil, "pre a, body", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d.lines = nil
			err := core.Pipeline{Hooks: test.hooks}.Run(t.Context(), core.Moment{}, d.body(test.body))
			wantErrors(t, err, test.errs...)
			d.want(t, strings.Split(test.lines, ", ")...)
		})
	}
	err := core.Pipeline{Hooks: []core.Hook{d.hook("db", errPre, errPost)}}.Run(t.Context(), core.Moment{}, d.body(nil))
	if want := "hook db: pre: pre went wrong\nhook db: post: post went wrong"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if post := (*core.PostError)(nil); !errors.As(err, &post) || !errors.Is(post, errPost) || errors.Is(post, errPre) {
		t.Errorf("of the post: %v", post)
	}
}

func TestPipelineContainsPanics(t *testing.T) {
	boom := func(context.Context, core.Moment) error { panic("boom") }
	exit := func(context.Context, core.Moment) error { runtime.Goexit(); return nil }
	bubble(t, func(t *testing.T, d *diary) {
		for name, action := range map[string]func(context.Context, core.Moment) error{"panic: boom": boom, "ended without": exit} {
			for where, want := range map[string]string{"pre": "pre a, post b, post a", "body": "pre a, pre b, post b, post a", "post": "pre a, pre b, body, post a"} {
				d.lines = nil
				b, body := d.hook("b", nil, nil), d.body(nil)
				switch where {
				case "pre":
					b.Pre = action
				case "post":
					b.Post = action
				case "body":
					body = func(ctx context.Context, _ []core.HookRun) error { return action(ctx, core.Moment{}) }
				}
				err := core.Pipeline{Hooks: []core.Hook{d.hook("a", nil, nil), b}}.Run(t.Context(), core.Moment{}, body)
				if err == nil || !strings.Contains(err.Error(), name) {
					t.Errorf("%s in %s: %v", name, where, err)
				}
				d.want(t, strings.Split(want, ", ")...)
			}
		}
		if time.Since(d.began) > 0 {
			t.Errorf("it took %v", time.Since(d.began))
		}
	})
}

func TestPipelineCancel(t *testing.T) {
	type key struct{}
	for name, want := range map[string]string{"before": "", "pre": "pre a, post b, post a", "optional pre": "pre a, post b, post a", "body": "pre a, pre b, body, post b, post a"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, d *diary) {
				ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "kept"))
				defer cancel(nil)
				b, body := d.hook("b", nil, nil), d.body(nil)
				b.Post = func(ctx context.Context, m core.Moment) error {
					d.note("post b")
					if ctx.Err() != nil || ctx.Value(key{}) != "kept" || !errors.Is(m.Err, errWord) {
						t.Errorf("post with %v, context %v", m.Err, ctx)
					}
					return nil
				}
				switch name {
				case "before":
					cancel(errWord)
				case "pre", "optional pre":
					b.Optional = name == "optional pre"
					b.Pre = func(ctx context.Context, _ core.Moment) error { cancel(errWord); <-ctx.Done(); return ctx.Err() }
				case "body":
					body = func(ctx context.Context, _ []core.HookRun) error {
						d.note("body")
						cancel(errWord)
						<-ctx.Done()
						return context.Cause(ctx)
					}
				}
				err := core.Pipeline{Hooks: []core.Hook{d.hook("a", nil, nil), b}}.Run(ctx, core.Moment{}, body)
				wantErrors(t, err, errWord)
				var lines []string
				if want != "" {
					lines = strings.Split(want, ", ")
				}
				d.want(t, lines...)
			})
		})
	}
}

// debts notes what is owed and paid.
type debts struct {
	*diary
	owe, paid func(hook string) error
}

func (d *debts) Owe(_ context.Context, h core.Hook, m core.Moment) error {
	d.note("owe %s", h.Name)
	if m.Phase != core.Pre {
		d.note("in phase %s", m.Phase)
	}
	if d.owe == nil {
		return nil
	}
	return d.owe(h.Name)
}

func (d *debts) Runs(h core.Hook, m core.Moment, p core.Process) error {
	d.note("runs %s %s in %d", h.Name, m.Phase, p.Group)
	return nil
}

func (d *debts) Paid(_ context.Context, h core.Hook, m core.Moment) error {
	d.note("paid %s", h.Name)
	if d.paid == nil {
		return nil
	}
	return d.paid(h.Name)
}

func TestPipelineDebts(t *testing.T) {
	fails := func(err error) func(string) error {
		return func(hook string) error {
			if hook != "b" {
				return nil
			}
			return err
		}
	}
	boom := func(hook string) error {
		if hook == "b" {
			panic(errWord.Error())
		}
		return nil
	}
	var d diary
	a, b := d.hook("a", nil, nil), d.hook("b", nil, nil)
	dump := core.Hook{Name: "dump", Pre: d.hook("dump", nil, nil).Pre}
	runs := core.Hook{
		Name: "runs",
		Pre:  func(_ context.Context, m core.Moment) error { return m.Runs(core.Process{Group: 7}) },
		Post: func(_ context.Context, m core.Moment) error { return m.Runs(core.Process{Group: 8}) },
	}
	tests := map[string]struct {
		hooks []core.Hook
		debts debts
		lines string
		say   error
	}{
		"order":      {[]core.Hook{a, dump, b}, debts{}, "owe a, pre a, owe dump, pre dump, owe b, pre b, body, post b, paid b, paid dump, post a, paid a", nil},
		"owe fails":  {[]core.Hook{a, b}, debts{owe: fails(errWord)}, "owe a, pre a, owe b, post a, paid a", errWord},
		"owe panics": {[]core.Hook{a, b}, debts{owe: boom}, "owe a, pre a, owe b, post a, paid a", errWord},
		"optional owe fails": {
			[]core.Hook{{Name: "b", Optional: true, Pre: b.Pre, Post: b.Post}, a}, debts{owe: fails(errWord)},
			"owe b, owe a, pre a, body, post a, paid a", nil,
		},
		"pre fails":   {[]core.Hook{a, d.hook("b", errWord, nil)}, debts{}, "owe a, pre a, owe b, pre b, post b, paid b, post a, paid a", errWord},
		"post fails":  {[]core.Hook{a, d.hook("b", nil, errWord)}, debts{}, "owe a, pre a, owe b, pre b, body, post b, paid b, post a, paid a", errWord},
		"runs":        {[]core.Hook{runs}, debts{}, "owe runs, runs runs pre in 7, body, runs runs post in 8, paid runs", nil},
		"paid fails":  {[]core.Hook{a, b}, debts{paid: fails(errWord)}, "owe a, pre a, owe b, pre b, body, post b, paid b, post a, paid a", errWord},
		"paid panics": {[]core.Hook{a, b}, debts{paid: boom}, "owe a, pre a, owe b, pre b, body, post b, paid b, post a, paid a", errWord},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d.lines = nil
			test.debts.diary = &d
			err := core.Pipeline{Hooks: test.hooks, Debts: &test.debts}.Run(t.Context(), core.Moment{}, d.body(nil))
			if (err != nil) != (test.say != nil) || err != nil && !strings.Contains(err.Error(), test.say.Error()) {
				t.Errorf("error %v, want %v", err, test.say)
			}
			d.want(t, strings.Split(test.lines, ", ")...)
		})
	}
}

func TestTell(t *testing.T) {
	bubble(t, func(t *testing.T, d *diary) {
		result := core.Result{Outcome: core.Degraded, Agents: []core.AgentResult{{Agent: "disk", State: core.Stored}}, Err: errBody}
		tells := func(name string, err error) core.Hook {
			return core.Hook{Name: name, After: func(_ context.Context, m core.Moment, r core.Result) error {
				d.note("%s %s %s %s %s", name, m.Phase, m.ID, r.Outcome, r.Agents[0].Agent)
				return err
			}}
		}
		panics := core.Hook{Name: "panics", After: func(context.Context, core.Moment, core.Result) error { panic("boom") }}
		hangs := core.Hook{Name: "hangs", Timeout: time.Second}
		action := stuck(t)
		hangs.After = func(ctx context.Context, m core.Moment, _ core.Result) error { return action(ctx, m) }
		p := core.Pipeline{Hooks: []core.Hook{tells("a", errPre), d.hook("no after", nil, nil), panics, hangs, tells("b", nil)}, Debts: &debts{diary: d}}
		err := p.Tell(t.Context(), core.Moment{ID: "id"}, result)
		wantErrors(t, err, errPre, context.DeadlineExceeded)
		if !strings.Contains(err.Error(), "hook panics: after: panic: boom") {
			t.Errorf("%v", err)
		}
		d.want(t, "a after id degraded disk", "b after id degraded disk")
	})
}
