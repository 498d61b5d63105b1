package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// stuck is an action that ignores its context until the test is over.
func stuck(t *testing.T) func(context.Context, core.Moment) error {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	return func(context.Context, core.Moment) error { <-over; return nil }
}

// until is an action that obeys its context and says so with an error.
func until(err error) func(context.Context, core.Moment) error {
	return func(ctx context.Context, _ core.Moment) error { <-ctx.Done(); return err }
}

func TestPipelineTimeLimits(t *testing.T) {
	tests := map[string]struct {
		timeout time.Duration
		pre     func(t *testing.T) func(context.Context, core.Moment) error
		post    string // when it begins
		errs    []error
	}{
		"obeys":        {time.Minute, func(*testing.T) func(context.Context, core.Moment) error { return until(errPre) }, "post 60s", []error{context.DeadlineExceeded, errPre}},
		"ends well":    {time.Minute, func(*testing.T) func(context.Context, core.Moment) error { return until(nil) }, "post 60s", []error{context.DeadlineExceeded}},
		"ignores":      {time.Minute, stuck, "post 60.5s", []error{context.DeadlineExceeded}},
		"default time": {0, stuck, "post 600.5s", []error{context.DeadlineExceeded}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, d *diary) {
				h := core.Hook{Name: "h", Timeout: test.timeout, Pre: test.pre(t)}
				h.Post = func(context.Context, core.Moment) error { d.at("post"); return nil }
				err := core.Pipeline{Hooks: []core.Hook{h}}.Run(t.Context(), core.Moment{}, d.body(nil))
				wantErrors(t, err, test.errs...)
				d.want(t, test.post)
			})
		})
	}
}

// A post that hangs is left behind, and the others run.
func TestPipelinePostHangs(t *testing.T) {
	bubble(t, func(t *testing.T, d *diary) {
		hangs := core.Hook{Name: "hangs", Timeout: time.Second, Post: stuck(t)}
		p := core.Pipeline{Hooks: []core.Hook{d.hook("a", nil, nil), hangs}, Debts: &debts{diary: d}}
		wantErrors(t, p.Run(t.Context(), core.Moment{}, d.body(nil)), context.DeadlineExceeded)
		d.want(t, "owe a", "pre a", "owe hangs", "body", "post a", "paid a")
	})
}

func TestPipelineMaxPause(t *testing.T) {
	tests := map[string]struct {
		body func(context.Context) error
		want []string
		errs []error
	}{
		"in time":       {func(context.Context) error { time.Sleep(59 * time.Second); return nil }, []string{"body ends 59s", "post 59s", "end 59s"}, nil},
		"fails in time": {func(context.Context) error { return errBody }, []string{"body ends 0s", "post 0s", "end 0s"}, []error{errBody}},
		"takes longer":  {func(context.Context) error { time.Sleep(time.Hour); return nil }, []string{"post 60s", "body ends 3600s", "end 3600s"}, []error{core.ErrPause}},
		"fails later":   {func(context.Context) error { time.Sleep(time.Hour); return errBody }, []string{"post 60s", "body ends 3600s", "end 3600s"}, []error{core.ErrPause, errBody}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, d *diary) {
				h := core.Hook{Name: "h", Post: func(ctx context.Context, m core.Moment) error {
					d.at("post")
					if ctx.Err() != nil || errors.Is(m.Err, core.ErrPause) != (len(test.errs) > 0 && test.errs[0] == core.ErrPause) {
						t.Errorf("post with %v of context %v", m.Err, ctx.Err())
					}
					return nil
				}}
				p := core.Pipeline{Hooks: []core.Hook{h}, MaxPause: time.Minute}
				err := p.Run(t.Context(), core.Moment{}, func(ctx context.Context, _ []core.HookRun) error {
					defer d.at("body ends")
					return test.body(ctx)
				})
				d.at("end")
				wantErrors(t, err, test.errs...)
				d.want(t, test.want...)
			})
		})
	}
}

// A body that obeys its context, in whatever words, fails by the pause.
func TestPipelineMaxPauseEndsBody(t *testing.T) {
	for name, answer := range map[string]func(context.Context) error{
		"context's": func(ctx context.Context) error { return ctx.Err() },
		"cause":     func(ctx context.Context) error { return context.Cause(ctx) },
		"wrapped": func(ctx context.Context) error {
			return fmt.Errorf("%w after 3 files: %w", errBody, context.Cause(ctx))
		},
		"own": func(context.Context) error { return errBody },
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 { // body and limit end at once: whoever is seen first
				bubble(t, func(t *testing.T, d *diary) {
					p := core.Pipeline{Hooks: []core.Hook{d.hook("a", nil, nil)}, MaxPause: time.Minute}
					err := p.Run(t.Context(), core.Moment{}, func(ctx context.Context, _ []core.HookRun) error {
						<-ctx.Done()
						return answer(ctx)
					})
					wantErrors(t, err, core.ErrPause)
					if strings.Contains(name, "w") {
						wantErrors(t, err, errBody)
					}
					d.want(t, "pre a", "post a")
				})
			}
		})
	}
}

// The pause begins with the first pre, and its end ends a pre that hangs.
func TestPipelineMaxPauseInPre(t *testing.T) {
	bubble(t, func(t *testing.T, d *diary) {
		first := core.Hook{Name: "first",
			Pre:  func(context.Context, core.Moment) error { time.Sleep(40 * time.Second); return nil },
			Post: func(context.Context, core.Moment) error { d.at("post first"); return nil },
		}
		hangs := core.Hook{Name: "hangs", Optional: true, Pre: stuck(t), Post: func(context.Context, core.Moment) error { d.at("post hangs"); return nil }}
		p := core.Pipeline{Hooks: []core.Hook{first, hangs, d.hook("never", nil, nil)}, MaxPause: time.Minute}
		wantErrors(t, p.Run(t.Context(), core.Moment{}, d.body(nil)), core.ErrPause)
		d.want(t, "post hangs 60.5s", "post first 60.5s")
	})
}

// Where nothing pauses an application, nothing is held.
func TestPipelineMaxPauseWithoutPause(t *testing.T) {
	bubble(t, func(t *testing.T, d *diary) {
		tells := core.Hook{Name: "tells", After: func(context.Context, core.Moment, core.Result) error { return nil }}
		p := core.Pipeline{Hooks: []core.Hook{tells}, MaxPause: time.Minute}
		wantErrors(t, p.Run(t.Context(), core.Moment{}, func(context.Context, []core.HookRun) error { time.Sleep(time.Hour); return nil }))
	})
}
