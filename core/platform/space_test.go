package platform

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/disk"
)

// TestRoomLeft goes through what is asked for, and what is left to others.
func TestRoomLeft(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	space := func(size, free int64) disk.Space { return disk.Space{Size: size, Free: free} }
	for name, c := range map[string]struct {
		disk disk.Space
		need int64
		full bool
	}{
		"a large disk":                     {space(1<<40, 100*gib), 99 * gib, false},
		"what is left to others":           {space(1<<40, 100*gib), 100 * gib, true},
		"a quarter of a GiB is left":       {space(1<<40, 256*mib), 0, false},
		"less than that":                   {space(1<<40, 256*mib-1), 0, true},
		"of a small disk a twentieth":      {space(100*mib, 5*mib), 0, false},
		"less than a twentieth":            {space(100*mib, 5*mib-1), 0, true},
		"one that does not say what it is": {disk.Space{}, 100 * gib, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := &run{Platform: &Platform{space: func(string) (disk.Space, error) { return c.disk, nil }}}
			err := r.room("somewhere", c.need)
			if full := errors.Is(err, syscall.ENOSPC); full != c.full || err != nil && !full {
				t.Errorf("%d of %+v: %v", c.need, c.disk, err)
			}
		})
	}
}

// TestRoomAtFirst wants as much for a job as its last run took, before any hook.
func TestRoomAtFirst(t *testing.T) {
	w := newWorld(t)
	job := w.job()
	job.Name = "web"
	dump := strings.Repeat("a row of the database\n", 1000)
	paused := 0
	job.Hooks = []core.Hook{{Name: "db", Pre: func(_ context.Context, m core.Moment) error {
		paused++
		return os.WriteFile(filepath.Join(m.Dir, "dump"), []byte(dump), 0o600)
	}}}
	st := &state{w.Env.StateDir}
	if last, err := st.took("web"); err != nil || last.Archive != 0 {
		t.Fatalf("before any run: %+v, %v", last, err)
	}
	report, err := w.Run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	other := job
	other.Name, other.Hooks = "mail", nil
	if _, err := w.Run(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	last, err := st.took("web")
	if err != nil || last.Archive != report.Backup.Size || last.Dumped != int64(len(dump)) {
		t.Fatalf("took %d and %d, %v; want %d and %d", last.Archive, last.Dumped, err, report.Backup.Size, len(dump))
	}
	for _, spool := range []string{"", w.at("spool")} { // on the same file system
		for _, left := range []int64{-1, 0} {
			if last, err = st.took("web"); err != nil {
				t.Fatal(err)
			}
			asked, need := 0, last.Archive+last.Dumped
			w.Spool = spool
			w.space = func(string) (disk.Space, error) {
				asked++
				d := disk.Space{Size: 1 << 40}
				d.Free = d.Reserve() + need + left
				return d, nil
			}
			paused = 0
			report, err := w.Run(t.Context(), job)
			if left < 0 {
				if !errors.Is(err, syscall.ENOSPC) || report.Outcome != core.Failed || paused > 0 || asked != 1 {
					t.Errorf("spool %q, a byte too few: %v, %v, paused %d times, asked %d times", spool, report.Outcome, err, paused, asked)
				}
			} else if err != nil || paused != 1 {
				t.Errorf("spool %q, room enough: %v, paused %d times", spool, err, paused)
			}
		}
	}
	if names := left(t, w.at("state")); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}

// TestRoomAfterADegradedRun wants as much as that took, also when its archive was sent
// later: what is noted then has no sizes.
func TestRoomAfterADegradedRun(t *testing.T) {
	w := newWorld(t)
	two := &down{w.Agents[1], true}
	w.Agents[1] = two
	job := w.job()
	job.Name, job.Copies, job.KeepPending = "web", 1, time.Hour
	report, err := w.Run(t.Context(), job)
	if err != nil || report.Outcome != core.Degraded {
		t.Fatalf("%v, %v", report.Outcome, err)
	}
	two.away = false
	if r, err := w.Recover(t.Context()); err != nil || len(r.Sent) != 1 || !r.Done() {
		t.Fatalf("%+v, %v", r, err)
	}
	if last, err := (&state{w.Env.StateDir}).took("web"); err != nil || last.Archive != report.Backup.Size {
		t.Errorf("took %d, %v; want %d", last.Archive, err, report.Backup.Size)
	}
}

// skipped demands that no agent is blamed for a run that ended on this machine, in its
// report and in its ledger.
func (w *world) skipped(t *testing.T, report Report) {
	t.Helper()
	var noted []core.State
	steps, err := readLedger(filepath.Join((&state{w.Env.StateDir}).history(), string(report.Backup.ID)+".jsonl"))
	for _, s := range steps {
		if s.Step == stepAgent {
			noted = append(noted, s.State)
		}
	}
	if err != nil || !slices.Equal(noted, []core.State{core.Skipped, core.Skipped}) {
		t.Errorf("noted %v, %v", noted, err)
	}
	for _, a := range report.Agents {
		if a.State != core.Skipped || a.Err != nil {
			t.Errorf("%+v", a)
		}
	}
}

// TestRoomWhilePacking ends a run when others, or its own hooks, take the room. The
// application goes on, and nothing is stored.
func TestRoomWhilePacking(t *testing.T) {
	w := newWorld(t)
	var full atomic.Bool
	w.space = func(string) (disk.Space, error) {
		if full.Load() {
			return disk.Space{Size: 1 << 40, Free: 1 << 20}, nil
		}
		return disk.Space{Size: 1 << 40, Free: 1 << 39}, nil
	}
	paused := false
	job := w.job()
	job.Hooks = []core.Hook{{
		Name: "db",
		Pre: func(ctx context.Context, _ core.Moment) error {
			paused = true
			full.Store(true)
			<-ctx.Done()
			return context.Cause(ctx)
		},
		Post: func(context.Context, core.Moment) error { paused = false; return nil },
	}}
	report, err := w.Run(t.Context(), job)
	if !errors.Is(err, syscall.ENOSPC) || report.Outcome != core.Failed || strings.Count(err.Error(), syscall.ENOSPC.Error()) != 1 {
		t.Errorf("%v, %v", report.Outcome, err)
	}
	w.skipped(t, report)
	if paused {
		t.Error("the application is still paused")
	}
	for _, place := range []string{"one", "two", "state"} {
		if names := left(t, w.at(place)); len(names) > 0 {
			t.Errorf("left at %s: %v", place, names)
		}
	}
	full.Store(false)
	job.Hooks = nil
	if _, err := w.Run(t.Context(), job); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
