package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

const deadID = core.ID("20261123T045900Z-mzxw6ytboi4dk")

// dead leaves a run as a process does that is killed after some steps.
func (w *world) dead(t *testing.T, steps ...step) {
	t.Helper()
	e, err := (&state{w.at("state")}).create(record{ID: deadID, Job: "app", Agents: []string{"one", "two"}}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if err := e.ledger.note(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.release(); err != nil {
		t.Fatal(err)
	}
}

// undoer pays debts, and notes how.
type undoer struct {
	did   []string
	fails error
}

func (u *undoer) hook(_ context.Context, name string, debt []byte) (core.Hook, error) {
	return core.Hook{Name: name, Post: func(_ context.Context, m core.Moment) error {
		u.did = append(u.did, fmt.Sprintf("post %s %s of %s: %v", name, debt, m.ID, m.Err))
		return errors.Join(u.fails, m.Runs(core.Process{Group: 99}))
	}}, nil
}

func (u *undoer) end(_ context.Context, p core.Process) error {
	u.did = append(u.did, fmt.Sprintf("end %d", p.Group))
	return nil
}

var killed = []step{
	{Step: stepOwes, Hook: "paid before", Undoes: true},
	{Step: stepOwes, Hook: "pause", Undoes: true, Debt: []byte(`{"by":"hand"}`)},
	{Step: stepPaid, Hook: "paid before"},
	{Step: stepOwes, Hook: "dump"},
	{Step: stepRuns, Hook: "dump", Phase: core.Pre, Process: &core.Process{Group: 7}},
	{Step: stepOwes, Hook: "second pause", Undoes: true},
	{Step: stepRuns, Hook: "second pause", Phase: core.Pre, Process: &core.Process{Group: 8}},
	{Step: stepRuns, Hook: "second pause", Phase: core.Post, Process: &core.Process{Group: 9}},
}

// TestDebtsArePaid by the next command that does work, in reverse, once.
func TestDebtsArePaid(t *testing.T) {
	for name, command := range map[string]func(*world) ([]Payment, error){
		"run": func(w *world) ([]Payment, error) { r, err := w.Run(t.Context(), w.job()); return r.Payments, err },
		"upload": func(w *world) ([]Payment, error) {
			r, err := w.Upload(t.Context(), filepath.Join(w.source, "big"), UploadOptions{})
			return r.Payments, err
		},
		"recover": func(w *world) ([]Payment, error) { r, err := w.Recover(t.Context()); return r.Payments, err },
	} {
		for _, fails := range []error{nil, errors.New("systemctl: exit status 5")} {
			w, u := newWorld(t), &undoer{fails: fails}
			w.Hook, w.End = u.hook, u.end
			w.dead(t, killed...)
			made, err := command(w)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			why := ": the process that ran this was killed"
			want := []string{"end 8", "end 9", "post second pause  of " + string(deadID) + why, "end 7", `post pause {"by":"hand"} of ` + string(deadID) + why}
			if !slices.Equal(u.did, want) {
				t.Errorf("%s: did %q, want %q", name, u.did, want)
			}
			if len(made) != 2 || made[0].Hook != "second pause" || made[0].Job != "app" || !errors.Is(made[0].Err, fails) || made[0].Owed {
				t.Errorf("%s: payments %+v", name, made)
			}
			u.did = nil
			if again, err := command(w); err != nil || len(again) > 0 || len(u.did) > 0 {
				t.Errorf("%s again: %v, %v, %q", name, again, err, u.did)
			}
			if names := left(t, w.at("state")); len(names) > 0 {
				t.Errorf("%s: left: %q", name, names)
			}
		}
	}
}

// TestDebtsStay until a program comes that can pay them.
func TestDebtsStay(t *testing.T) {
	w, u := newWorld(t), &undoer{}
	w.dead(t, killed...)
	report, err := w.Run(t.Context(), w.job())
	if err != nil || report.Outcome != core.Degraded || !strings.Contains(fmt.Sprint(report.Err), "hook pause of run "+string(deadID)+" is not undone") {
		t.Errorf("%v, %v, %v", report.Outcome, report.Err, err)
	}
	w.End = func(context.Context, core.Process) error { return errors.New("it does not die") }
	w.Hook = u.hook
	if r, err := w.Recover(t.Context()); err != nil || r.Done() || len(u.did) != 1 {
		t.Errorf("with processes that stay: %+v, %v, %q", r, err, u.did)
	}
	w.End = u.end
	if r, err := w.Recover(t.Context()); err != nil || !r.Done() || len(u.did) != 1+3 {
		t.Errorf("%+v, %v, %q", r, err, u.did)
	}
}

// TestHungPostIsOwed by a process that lives, which nobody else pays for it.
func TestHungPostIsOwed(t *testing.T) {
	w, u := newWorld(t), &undoer{}
	hang := make(chan struct{})
	job := w.job()
	job.Hooks = []core.Hook{{Name: "hangs", Timeout: time.Millisecond, Post: func(context.Context, core.Moment) error { <-hang; return nil }}}
	if report, err := w.Run(t.Context(), job); err != nil || report.Outcome != core.Degraded {
		t.Errorf("%v, %v", report.Outcome, err)
	}
	close(hang)
	w.Hook, w.End = u.hook, u.end
	if r, err := w.Recover(t.Context()); err != nil || len(r.Payments) != 1 || len(u.did) != 1 || !r.Done() {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestTornLedger is one whose last line a power loss tore.
func TestTornLedger(t *testing.T) {
	w, u := newWorld(t), &undoer{}
	w.Hook, w.End = u.hook, u.end
	w.dead(t, step{Step: stepOwes, Hook: "pause", Undoes: true})
	path := filepath.Join((&state{w.at("state")}).folder(deadID), ledgerFile)
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(doc)+`{"at":"2026-11-23T05:00:00Z","step":"pai`)
	if r, err := w.Recover(t.Context()); err != nil || len(u.did) != 1 || !r.Done() {
		t.Errorf("%+v, %v, %q", r, err, u.did)
	}
	if left := left(t, w.at("state")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// down is an agent that is away while it says so.
type down struct {
	core.Agent
	away bool
}

func (d *down) Upload(ctx context.Context, src core.Source) error {
	if d.away {
		return core.Errorf(core.ErrUnavailable, "nobody there")
	}
	return d.Agent.Upload(ctx, src)
}

func (d *down) Sweep(ctx context.Context, own func(core.ID) bool) iter.Seq2[core.Leftover, error] {
	return d.Agent.(core.Sweeper).Sweep(ctx, own)
}

// TestPending keeps the archive for an agent that was away: the next run of the job,
// or a recover, brings it there.
func TestPending(t *testing.T) {
	for name, heal := range map[string]func(*world, Job) (Report, error){
		"run": func(w *world, job Job) (Report, error) {
			r, err := w.Run(t.Context(), job)
			if len(r.Resent) != 1 {
				return r, errors.Join(err, errors.New("nothing was sent again"))
			}
			return r.Resent[0], err
		},
		"recover": func(w *world, _ Job) (Report, error) {
			r, err := w.Recover(t.Context())
			if len(r.Sent) != 1 || !r.Done() {
				return Report{}, fmt.Errorf("recovered %+v: %w", r, err)
			}
			return r.Sent[0], err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			two := &down{w.Agents[1], true}
			w.Agents[1] = two
			job := w.job()
			job.Name, job.Copies, job.KeepPending = "app", 1, time.Hour
			report, err := w.Run(t.Context(), job)
			if err != nil || report.Outcome != core.Degraded || report.Agents[1].State != core.Pending {
				t.Fatalf("%+v, %v", report.Result, err)
			}
			if r, err := w.Recover(t.Context()); err != nil || r.Done() || len(r.Sent) != 1 || r.Sent[0].Outcome != core.Degraded {
				t.Errorf("recovered while it is away: %+v, %v", r, err)
			}
			two.away = false
			// What a try left that was killed, of an archive that goes in one piece.
			write(t, w.at("two/tmp/data,"+string(report.Backup.ID)+".tar.zst.0123456789abcdef.partial"), "half of it")
			healed, err := heal(w, job)
			if err != nil || healed.Outcome != core.OK || healed.Backup.ID != report.Backup.ID {
				t.Fatalf("%+v, %v", healed.Result, err)
			}
			one, err1 := os.ReadFile(w.at("one/meta/" + string(report.Backup.ID) + ".json"))
			other, err2 := os.ReadFile(w.at("two/meta/" + string(report.Backup.ID) + ".json"))
			if err1 != nil || err2 != nil || !bytes.Equal(one, other) {
				t.Errorf("metadata differ: %v, %v", err1, err2)
			}
			alone := &Platform{Agents: []core.Agent{two}}
			if _, err := alone.Restore(t.Context(), report.Backup.ID, w.at("restored"), RestoreOptions{Below: w.source}); err != nil {
				t.Fatal(err)
			}
			same(t, w.source, w.at("restored"))
			for _, dir := range []string{"state", "one", "two"} {
				if names := left(t, w.at(dir)); len(names) > 0 {
					t.Errorf("left at %s: %q", dir, names)
				}
			}
		})
	}
}

// TestPendingIsGivenUp when its time is over.
func TestPendingIsGivenUp(t *testing.T) {
	w := newWorld(t)
	w.Agents[1] = &down{w.Agents[1], true}
	now := time.Now()
	w.Env.Now = func() time.Time { return now }
	job := w.job()
	job.Name, job.Copies, job.KeepPending = "app", 1, time.Hour
	if _, err := w.Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Hour)
	if r, err := w.Recover(t.Context()); err != nil || len(r.Sent) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if names := left(t, w.at("state")); len(names) > 0 {
		t.Errorf("left: %q", names)
	}
}

// TestKilledBeforeItsRecordEnded had stored everything and removed the archive.
func TestKilledBeforeItsRecordEnded(t *testing.T) {
	w := newWorld(t)
	w.Agents[1] = &down{w.Agents[1], true}
	job := w.job()
	job.Name, job.Copies, job.KeepPending = "app", 1, time.Hour
	report, err := w.Run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	folder := (&state{w.at("state")}).folder(report.Backup.ID)
	if err := os.Remove(folder + "/backup.json"); err != nil {
		t.Fatal(err)
	}
	if r, err := w.Recover(t.Context()); err != nil || !r.Done() || len(r.Sent) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if names := left(t, w.at("state")); len(names) > 0 {
		t.Errorf("left: %q", names)
	}
}

// TestSpoolAway is an archive on a disk that is away for a while.
func TestSpoolAway(t *testing.T) {
	w := newWorld(t)
	two := &down{w.Agents[1], true}
	w.Agents[1] = two
	job := w.job()
	job.Name, job.Copies, job.KeepPending = "app", 1, time.Hour
	report, err := w.Run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	two.away = false
	archive := (&state{w.at("state")}).folder(report.Backup.ID) + "/archive"
	if err := os.Rename(archive, w.at("elsewhere")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r, err := w.Recover(t.Context()); err != nil || r.Done() {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if err := os.Rename(w.at("elsewhere"), archive); err != nil {
		t.Fatal(err)
	}
	if r, err := w.Recover(t.Context()); err != nil || !r.Done() || len(r.Sent) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestAllAway keeps the archive although every agent is away before it is packed.
func TestAllAway(t *testing.T) {
	w := newWorld(t)
	one, two := &down{w.Agents[0], true}, &down{w.Agents[1], true}
	w.Agents = []core.Agent{one, two}
	job := w.job()
	job.Name, job.KeepPending = "app", time.Hour
	job.Hooks = []core.Hook{{Name: "slow", Pre: func(ctx context.Context, _ core.Moment) error {
		select { // longer than the agents take to say no
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
			return nil
		}
	}}}
	if report, err := w.Run(t.Context(), job); err == nil || len(report.Agents) != 2 || report.Agents[0].State != core.Pending {
		t.Fatalf("%+v, %v", report.Result, err)
	}
	one.away, two.away = false, false
	if r, err := w.Recover(t.Context()); err != nil || !r.Done() || len(r.Sent) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestPaymentIsNotCutOff by a caller who gives up: what has begun ends, the rest is
// still owed.
func TestPaymentIsNotCutOff(t *testing.T) {
	w := newWorld(t)
	w.dead(t, step{Step: stepOwes, Hook: "a", Undoes: true}, step{Step: stepOwes, Hook: "b", Undoes: true})
	ctx, cancel := context.WithCancel(t.Context())
	var ran []string
	w.Hook = func(_ context.Context, name string, _ []byte) (core.Hook, error) {
		return core.Hook{Post: func(ctx context.Context, _ core.Moment) error {
			cancel()
			ran = append(ran, name)
			return ctx.Err()
		}}, nil
	}
	if r, _ := w.Recover(ctx); len(r.Payments) != 2 || r.Payments[0].Err != nil || !r.Payments[1].Owed {
		t.Errorf("%+v", r.Payments)
	}
	if r, err := w.Recover(t.Context()); err != nil || !r.Done() || !slices.Equal(ran, []string{"b", "a"}) {
		t.Errorf("%+v, %v, ran %q", r, err, ran)
	}
}

// TestPendingDamaged is an archive that another program wrote to while it waited.
func TestPendingDamaged(t *testing.T) {
	w := newWorld(t)
	two := &down{w.Agents[1], true}
	w.Agents[1] = two
	job := w.job()
	job.Name, job.Copies, job.KeepPending = "app", 1, time.Hour
	report, err := w.Run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	spool := (&state{w.at("state")}).folder(report.Backup.ID) + "/archive"
	doc, err := os.ReadFile(spool)
	if err != nil {
		t.Fatal(err)
	}
	doc[len(doc)/2] ^= 1
	write(t, spool, string(doc))
	two.away = false
	if r, err := w.Recover(t.Context()); err != nil || r.Done() {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := two.Get(t.Context(), report.Backup.ID); !errors.Is(err, core.ErrNotFound) && !errors.Is(err, core.ErrNoPlace) {
		t.Errorf("a damaged archive was stored: %v", err)
	}
}

// TestBusy is a second run of a job; one of another job goes on.
func TestBusy(t *testing.T) {
	w := newWorld(t)
	job, other := w.job(), w.job()
	job.Name, other.Name = "app/1", "app"
	job.Hooks = []core.Hook{{Name: "h", Pre: func(context.Context, core.Moment) error {
		if _, err := w.Run(t.Context(), job); !errors.Is(err, ErrBusy) {
			t.Errorf("a second run: %v", err)
		}
		_, err := w.Run(t.Context(), other)
		return err
	}}}
	if report, err := w.Run(t.Context(), job); err != nil {
		t.Errorf("%+v, %v", report.Result, err)
	}
}

// TestLedgerTells what happened, in words, and is kept.
func TestLedgerTells(t *testing.T) {
	w := newWorld(t)
	job := w.job()
	job.KeepPending = time.Hour
	job.Hooks = []core.Hook{{Name: "h", Debt: []byte(`{}`), Post: func(context.Context, core.Moment) error { return nil }}}
	report, err := w.Run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := readLedger(w.at("state/ledger/" + string(report.Backup.ID) + ".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, s := range steps {
		if s.Step != stepSends && s.Step != stepPacked { // at any time, packed beside the posts
			words = append(words, strings.Join(strings.Fields(fmt.Sprint(s.Step, " ", s.Hook, s.Agent, " ", s.State, s.Outcome)), " "))
		}
	}
	want := []string{"begun", "owes h", "paid h", "agent one stored", "agent two stored", "ended ok"}
	if !slices.Equal(words, want) {
		t.Errorf("%q, want %q", words, want)
	}
	at := func(kind stepKind) int { return slices.IndexFunc(steps, func(s step) bool { return s.Step == kind }) }
	if p := at(stepPacked); p < at(stepOwes) || p > at(stepAgent) {
		t.Errorf("packed as step %d of %+v", p, steps)
	}
}
