package platform

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// TestPostHasItsFolder also where nothing was dumped into it; the archive has none of it.
func TestPostHasItsFolder(t *testing.T) {
	w := newWorld(t)
	said := func(m core.Moment) error {
		return os.WriteFile(filepath.Join(m.Dir, "start.log"), []byte("started"), 0o600)
	}
	job := w.job()
	job.Hooks = []core.Hook{
		{Name: "pause", Pre: func(context.Context, core.Moment) error { return nil }, Post: func(_ context.Context, m core.Moment) error { return said(m) }},
		{Name: "post", Post: func(_ context.Context, m core.Moment) error { return said(m) }},
	}
	report, err := w.Run(t.Context(), job)
	if err != nil || report.Outcome != core.OK {
		t.Fatalf("%v, %v, %v", report.Outcome, report.Err, err)
	}
	dest := w.at("restored")
	if _, err := w.Restore(t.Context(), report.Backup.ID, dest, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	if files, err := os.ReadDir(filepath.Join(dest, "hooks")); !os.IsNotExist(err) {
		t.Errorf("the archive holds hooks: %v, %v", files, err)
	}
	if names := left(t, w.at("state")); len(names) > 0 {
		t.Errorf("left: %q", names)
	}
}

// TestRunThatCannotBeginIsTold to its hooks, as of a full disk.
func TestRunThatCannotBeginIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*world, *Job)
		told  int
	}{
		"no state folder":    {func(w *world, _ *Job) { w.Env.StateDir = filepath.Join(w.source, "big", "state") }, 1},
		"nothing to back up": {func(_ *world, job *Job) { job.Paths = append(job.Paths, "/no/such") }, 1},
		"it has begun": {func(_ *world, job *Job) {
			job.Hooks[0].Pre = func(context.Context, core.Moment) error { return os.ErrInvalid }
		}, 1},
		"another job of the name": {func(w *world, job *Job) { w.busy(t, job.Name) }, 0},
		"what nobody can do":      {func(_ *world, job *Job) { job.Copies = 3 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var told []core.Result
			job := w.job()
			job.Name = "app"
			job.Hooks = []core.Hook{{Name: "tell", After: func(_ context.Context, _ core.Moment, r core.Result) error {
				told = append(told, r)
				return nil
			}}}
			c.spoil(w, &job)
			if report, err := w.Run(t.Context(), job); err == nil || report.Outcome != core.Failed || len(told) != c.told {
				t.Errorf("%v, %v, told %+v", report.Outcome, err, told)
			}
			if len(told) == 1 && (told[0].Outcome != core.Failed || told[0].Err == nil) {
				t.Errorf("told %+v", told)
			}
		})
	}
}

// busy holds the lock of a job until the test ends.
func (w *world) busy(t *testing.T, job string) {
	t.Helper()
	free, err := (&state{w.Env.StateDir}).job(job)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = free() })
}

// TestRecordThatCannotBeMade leaves nothing, and nobody holds it.
func TestRecordThatCannotBeMade(t *testing.T) {
	st := &state{t.TempDir()}
	r := record{ID: deadID, Created: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)} // no JSON can say that
	before := openFiles(t)
	if e, err := st.create(r, time.Now); err == nil || e != nil {
		t.Fatalf("%+v, %v", e, err)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open, before %d", after, before)
	}
	r.Created = time.Now()
	e, err := st.create(r, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.release(); err != nil {
		t.Error(err)
	}
}

// openFiles is how many this process has open, 0 where the system does not say.
func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return len(all)
}
