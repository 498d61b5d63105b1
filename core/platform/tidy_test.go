package platform

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// TestUntidy stores a backup whose record cannot be ended: it is stored and
// degraded, and so hooks are told.
func TestUntidy(t *testing.T) {
	w := newWorld(t)
	stored := w.Agents[1]
	w.Agents[1] = &broken{Agent: stored, upload: func(ctx context.Context, src core.Source) error {
		// The lock is in the way from now on.
		return errors.Join(os.Remove(w.at("state/lock")), os.Mkdir(w.at("state/lock"), 0o700), stored.Upload(ctx, src))
	}}
	var told core.Result
	job := w.job()
	job.Hooks = []core.Hook{{Name: "h", After: func(_ context.Context, _ core.Moment, r core.Result) error { told = r; return nil }}}
	report, err := w.Run(t.Context(), job)
	if err != nil || report.Outcome != core.Degraded || report.Err == nil {
		t.Errorf("run: %v, %v, %v", report.Outcome, report.Err, err)
	}
	if told.Outcome != core.Degraded || told.Err == nil {
		t.Errorf("told %v, %v", told.Outcome, told.Err)
	}
	if err := os.Remove(w.at("state/lock")); err != nil {
		t.Fatal(err)
	}
	report, err = w.Upload(t.Context(), filepath.Join(w.source, "big"), UploadOptions{})
	if err != nil || report.Outcome != core.Degraded || report.Err == nil {
		t.Errorf("upload: %v, %v, %v", report.Outcome, report.Err, err)
	}
}

// An unswept agent is down: it takes nothing and cannot be swept.
type unswept struct{ core.Agent }

func (u unswept) Upload(context.Context, core.Source) error {
	return core.Errorf(core.ErrUnavailable, "down")
}

func (u unswept) Sweep(context.Context, func(core.ID) bool) iter.Seq2[core.Leftover, error] {
	return func(yield func(core.Leftover, error) bool) {
		yield(core.Leftover{}, core.Errorf(core.ErrUnavailable, "down"))
	}
}

// TestDumpsGo dumps while an agent is down: its record stays, what was dumped does
// not. That of a killed run goes with the next command.
func TestDumpsGo(t *testing.T) {
	w := newWorld(t)
	w.Agents[1] = unswept{w.Agents[1]}
	st := &state{w.at("state")}
	killed, err := st.create(record{ID: "20261123T045900Z-mzxw6ytboi4dk", Agents: []string{"two"}}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	write(t, killed.path("hooks/db/dump"), "rows")
	if err := killed.release(); err != nil {
		t.Fatal(err)
	}
	job := w.job()
	job.Copies = 1
	job.Hooks = []core.Hook{{Name: "db", Pre: func(_ context.Context, m core.Moment) error {
		return os.WriteFile(filepath.Join(m.Dir, "dump"), []byte("rows"), 0o600)
	}}}
	report, err := w.Run(t.Context(), job)
	if err != nil || report.Outcome != core.Degraded {
		t.Fatalf("%v, %v", report.Outcome, err)
	}
	names := left(t, w.at("state"))
	if slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, "dump") }) {
		t.Errorf("dumps are left: %v", names)
	}
	for _, id := range []core.ID{killed.ID, report.Backup.ID} {
		if _, err := os.Stat(filepath.Join(st.folder(id), "run.json")); err != nil {
			t.Errorf("what %s may have left at an agent is forgotten: %v", id, err)
		}
	}
}
