package platform

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
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

// pendingAt is a run whose archive waits for agent two, which is away.
func (w *world) pendingAt(t *testing.T) (Report, *down) {
	t.Helper()
	two := &down{w.Agents[1], true}
	w.Agents[1] = two
	job := w.job()
	job.Name, job.Copies, job.KeepPending = "app", 1, time.Hour
	report, err := w.Run(t.Context(), job)
	if err != nil || report.Agents[1].State != core.Pending {
		t.Fatalf("%+v, %v", report.Result, err)
	}
	return report, two
}

// TestDumpsOfWaitingGo with the next command, not with the archive that they are in.
func TestDumpsOfWaitingGo(t *testing.T) {
	w := newWorld(t)
	report, _ := w.pendingAt(t)
	folder := (&state{w.at("state")}).folder(report.Backup.ID)
	write(t, folder+"/hooks/db/dump", "rows of a run that was killed before it removed them")
	if r, err := w.Recover(t.Context()); err != nil || len(r.Sent) != 1 || r.Done() {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := os.Stat(folder + "/hooks"); err == nil {
		t.Error("dumps are left")
	}
	if _, err := os.Stat(folder + "/archive"); err != nil {
		t.Error(err)
	}
}

// A messy agent takes an archive, and cannot be swept then.
type messy struct {
	*down
	messy bool
}

func (m *messy) Sweep(ctx context.Context, own func(core.ID) bool) iter.Seq2[core.Leftover, error] {
	if m.messy {
		return unswept{}.Sweep(ctx, own)
	}
	return m.down.Sweep(ctx, own)
}

// TestLeftoverIsNamed while the agent that has the archive may have something of an
// earlier try besides: else nobody would remove it.
func TestLeftoverIsNamed(t *testing.T) {
	w := newWorld(t)
	report, two := w.pendingAt(t)
	two.away = false
	agent := &messy{two, true}
	w.Agents[1] = agent
	write(t, w.at("two/tmp/data,"+string(report.Backup.ID)+".tar.zst.0123456789abcdef.partial"), "half of it")
	if r, err := w.Recover(t.Context()); err != nil || r.Done() || len(r.Sent) != 1 || r.Sent[0].Agents[0].State != core.Stored {
		t.Errorf("%+v, %v", r, err)
	}
	if names := left(t, w.at("state")); slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, "archive") }) {
		t.Errorf("nobody wants the archive any more: %q", names)
	}
	agent.messy = false
	if r, err := w.Recover(t.Context()); err != nil || !r.Done() || len(r.Sent) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if names := append(left(t, w.at("state")), left(t, w.at("two"))...); len(names) > 0 {
		t.Errorf("left: %q", names)
	}
}

// TestNotLost goes through what is known of a run that was killed.
func TestNotLost(t *testing.T) {
	w := newWorld(t)
	st, old := &state{w.at("state")}, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		keep   time.Time
		sealed bool
		steps  []step
		killed []Killed
	}{
		"killed while it packed":   {old, false, nil, []Killed{{deadID, "app", false}}},
		"killed while it sent":     {time.Time{}, false, []step{{Step: stepPacked}}, []Killed{{deadID, "app", true}}},
		"its archive waited":       {old, true, nil, nil},
		"its archive was taken":    {old, false, []step{{Step: stepPacked}}, nil},
		"its archive was sent":     {time.Time{}, false, []step{{Step: stepAgent, Agent: "one", State: core.Stored}}, nil},
		"it has said how it ended": {time.Time{}, false, []step{{Step: stepPacked}, {Step: stepEnded}}, nil},
	} {
		e, err := st.create(record{ID: deadID, Job: "app", Agents: []string{"one", "two"}, Spool: w.at("spool"), Keep: c.keep}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if c.sealed {
			write(t, e.path(sealedFile), "{}")
		}
		for _, s := range c.steps {
			err = errors.Join(err, e.ledger.note(s))
		}
		if err := errors.Join(err, e.release()); err != nil {
			t.Fatal(err)
		}
		if r, err := w.Recover(t.Context()); err != nil || !slices.Equal(r.Killed, c.killed) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// TestKilledIsSaid once, by whatever command finds it, also by one that fails.
func TestKilledIsSaid(t *testing.T) {
	for name, command := range map[string]func(*world) ([]Killed, error){
		"recover": func(w *world) ([]Killed, error) { r, err := w.Recover(t.Context()); return r.Killed, err },
		"run of another job": func(w *world) ([]Killed, error) {
			r, err := w.Run(t.Context(), w.job())
			return r.Killed, err
		},
		"run that fails": func(w *world) ([]Killed, error) {
			job := w.job()
			job.Hooks = []core.Hook{{Name: "a/b", Pre: func(context.Context, core.Moment) error { return nil }}}
			r, err := w.Run(t.Context(), job)
			if err != nil {
				err = nil
			} else {
				err = errors.New("it did not fail")
			}
			return r.Killed, err
		},
		"upload": func(w *world) ([]Killed, error) {
			r, err := w.Upload(t.Context(), w.at("source/big"), UploadOptions{})
			return r.Killed, err
		},
		"around": func(w *world) ([]Killed, error) {
			r, err := w.Around(t.Context(), "app", nil, nil, func(context.Context, []core.HookRun) error { return nil })
			return r.Killed, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			e, err := (&state{w.at("state")}).create(record{ID: deadID, Job: "app", Agents: []string{"one"}, Spool: w.at("spool")}, time.Now)
			if err == nil {
				err = e.release()
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range [][]Killed{{{ID: deadID, Job: "app"}}, nil} {
				if killed, err := command(w); err != nil || !slices.Equal(killed, want) {
					t.Errorf("%+v, %v; want %+v", killed, err, want)
				}
			}
		})
	}
}

// TestPackedIsNoted before an agent has the backup, also of a run that keeps no
// archive: else it is said to be lost when the process dies then.
func TestPackedIsNoted(t *testing.T) {
	w := newWorld(t)
	one := w.Agents[0]
	w.Agents[0] = &broken{Agent: one, upload: func(ctx context.Context, src core.Source) error {
		err := one.Upload(ctx, src)
		steps, e := readLedger(filepath.Join((&state{w.at("state")}).folder(src.Draft().ID), ledgerFile))
		if e != nil || !slices.ContainsFunc(steps, func(s step) bool { return s.Step == stepPacked }) {
			t.Errorf("stored, and the ledger has %+v, %v", steps, e)
		}
		return err
	}}
	if _, err := w.Run(t.Context(), w.job()); err != nil {
		t.Error(err)
	}
}

// A keeper is an agent whose credentials may not remove what is left.
type keeper struct {
	core.Agent
	kind core.ErrorKind
	asks int
}

func (k *keeper) Sweep(_ context.Context, own func(core.ID) bool) iter.Seq2[core.Leftover, error] {
	return func(yield func(core.Leftover, error) bool) {
		k.asks++
		for _, id := range []core.ID{killedID, "another"} {
			var err error
			if own(id) {
				err = k.kind
			}
			if !yield(core.Leftover{ID: id, Key: "data/" + string(id), What: "archive"}, err) {
				return
			}
		}
	}
}

const killedID = core.ID("20261123T045900Z-mzxw6ytboi4dk")

// TestMayNotSweep says once what stays because it may not be removed. It is no
// failure: such credentials are meant to be.
func TestMayNotSweep(t *testing.T) {
	for kind, done := range map[core.ErrorKind]bool{core.ErrDenied: true, core.ErrLocked: true, core.ErrUnavailable: false} {
		t.Run(string(kind), func(t *testing.T) {
			w := newWorld(t)
			k := &keeper{Agent: w.Agents[1], kind: kind}
			w.Agents[1] = k
			var log bytes.Buffer
			w.Env.Log = slog.New(slog.NewTextHandler(&log, nil))
			killed, err := (&state{w.at("state")}).create(record{ID: killedID, Agents: []string{"two"}}, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			if err := killed.release(); err != nil {
				t.Fatal(err)
			}
			for i := range 2 {
				r, err := w.Recover(t.Context())
				if err != nil || r.Done() != done {
					t.Errorf("recover %d: %+v, %v", i, r, err)
				}
			}
			if n := strings.Count(log.String(), "data/"+string(killedID)); done && n != 1 || k.asks != 2 {
				t.Errorf("said %d times in %d sweeps: %s", n, k.asks, &log)
			}
		})
	}
}
