package platform

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/offsite-backup/offsite/core"
)

// TestAround holds the job's lock, pays what dead runs owe first, owes its posts on
// disk, and leaves nothing.
func TestAround(t *testing.T) {
	for name, fails := range map[string]error{"ok": nil, "fails": errors.New("disk on fire")} {
		t.Run(name, func(t *testing.T) {
			w, u := newWorld(t), &undoer{}
			w.Hook, w.End = u.hook, u.end
			w.dead(t, step{Step: stepOwes, Hook: "pause", Undoes: true})
			note := func(what string) func(context.Context, core.Moment) error {
				return func(_ context.Context, m core.Moment) error {
					u.did = append(u.did, what+" "+filepath.Base(m.Dir)+" of "+m.Job)
					return nil
				}
			}
			hooks := []core.Hook{{Name: "a", Pre: note("pre"), Post: note("post")}, {Name: "b", Post: note("post")}}
			dir := func(hook string) string { return w.at("dest/" + hook) }
			found, err := w.Around(t.Context(), "app", hooks, dir, func(ctx context.Context, runs []core.HookRun) error {
				job := w.job()
				job.Name = "app"
				if _, err := w.Run(ctx, job); !errors.Is(err, ErrBusy) {
					t.Errorf("a run of the job meanwhile: %v", err)
				}
				if r, err := w.Recover(ctx); err != nil || len(r.Payments) > 0 {
					t.Errorf("paid for what lives: %+v, %v", r, err)
				}
				if len(runs) != 2 || runs[0].Status != "ok" {
					t.Errorf("%+v", runs)
				}
				u.did = append(u.did, "body")
				return fails
			})
			if !errors.Is(err, fails) || len(found.Payments) != 1 || found.Payments[0].Hook != "pause" {
				t.Errorf("%v, found %+v", err, found)
			}
			want := []string{"post pause  of " + string(deadID) + ": the process that ran this was killed", "pre a of app", "body", "post b of app", "post a of app"}
			if !slices.Equal(u.did, want) {
				t.Errorf("did %q, want %q", u.did, want)
			}
			if r, err := w.Recover(t.Context()); err != nil || len(r.Payments) > 0 || !r.Done() {
				t.Errorf("still owed: %+v, %v", r, err)
			}
			if names := left(t, w.at("state")); len(names) > 0 {
				t.Errorf("left: %q", names)
			}
		})
	}
}

// TestAroundOwes what it began, when its process dies in between.
func TestAroundOwes(t *testing.T) {
	w, u := newWorld(t), &undoer{}
	w.Hook, w.End = u.hook, u.end
	st := &state{w.at("state")}
	e, err := w.record(st, "app")
	if err != nil {
		t.Fatal(err)
	}
	undo := core.Hook{Name: "pause", Debt: []byte(`{}`), Post: func(context.Context, core.Moment) error { return nil }}
	if err := errors.Join(e.Owe(t.Context(), undo, core.Moment{}), e.release()); err != nil {
		t.Fatal(err)
	}
	if r, err := w.Recover(t.Context()); err != nil || len(r.Payments) != 1 || !r.Done() || len(u.did) != 1 {
		t.Errorf("%+v, %v, %q", r, err, u.did)
	}
	if names := left(t, w.at("state")); len(names) > 0 {
		t.Errorf("left: %q", names)
	}
}
