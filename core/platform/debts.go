package platform

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/offsite-backup/offsite/core"
)

// Owe is of core.Debts, as are Runs and Paid: the ledger of a run keeps what its
// hooks owe.
func (e *entry) Owe(_ context.Context, h core.Hook, m core.Moment) error {
	if h.Debt != nil && !json.Valid(h.Debt) {
		return core.Errorf(core.ErrInvalid, "the debt of hook %s is no JSON", h.Name)
	}
	return e.ledger.note(step{Step: stepOwes, Hook: h.Name, Debt: h.Debt, Undoes: h.Post != nil, Timeout: h.Timeout, Dir: m.Dir})
}

func (e *entry) Runs(h core.Hook, m core.Moment, p core.Process) error {
	return e.ledger.note(step{Step: stepRuns, Hook: h.Name, Phase: m.Phase, Process: &p})
}

func (e *entry) Paid(_ context.Context, h core.Hook, _ core.Moment) error {
	return e.ledger.note(step{Step: stepPaid, Hook: h.Name})
}

// owed are the hooks that were begun and not undone, in the order in which they
// are to be: the last one first.
func owed(steps []step) (debts []debt) {
	for _, s := range steps {
		is := func(d debt) bool { return d.Hook == s.Hook }
		switch s.Step {
		case stepOwes:
			debts = append(debts, debt{step: s})
		case stepRuns:
			if i := slices.IndexFunc(debts, is); i >= 0 {
				debts[i].processes = append(debts[i].processes, *s.Process)
			}
		case stepPaid:
			debts = slices.DeleteFunc(debts, is)
		}
	}
	slices.Reverse(debts)
	return debts
}

// A debt is one hook that a dead process began.
type debt struct {
	step                     // of its begin
	processes []core.Process // that ran for it
}

// A Payment is how a post went that an earlier process owed.
type Payment struct {
	ID   core.ID // the run that owed it
	Job  string
	Hook string
	Err  error // what went wrong; it is still owed where Owed says so
	Owed bool
}

// pay ends what is left of the hooks of a dead run, and undoes them. The caller
// holds the entry.
func (p *Platform) pay(ctx context.Context, e *entry) (made []Payment, err error) {
	steps, err := readLedger(e.path(ledgerFile))
	if err != nil {
		return nil, err
	}
	debts := owed(steps)
	if len(debts) == 0 {
		return nil, nil
	}
	if err := e.open(p.now); err != nil {
		return nil, err
	}
	for _, d := range debts {
		payment := Payment{ID: e.ID, Job: e.Job, Hook: d.Hook}
		payment.Owed, payment.Err = p.undo(ctx, e, d)
		if !payment.Owed {
			if err := e.ledger.note(step{Step: stepPaid, Hook: d.Hook, Error: text(payment.Err)}); err != nil {
				payment.Owed, payment.Err = true, errors.Join(payment.Err, err)
			}
		}
		if d.Undoes || payment.Err != nil {
			made = append(made, payment)
		}
	}
	return made, nil
}

// undo says whether the debt is still owed.
//
// A post that has begun is not cut off when the caller gives up: half a post is worse
// than none, and nobody would run it again.
func (p *Platform) undo(ctx context.Context, e *entry, d debt) (left bool, err error) {
	if ctx.Err() != nil {
		return true, fmt.Errorf("hook %s of run %s is not undone: %w", d.Hook, e.ID, context.Cause(ctx))
	}
	for _, process := range d.processes {
		if p.End == nil {
			break
		}
		if err := p.End(ctx, process); err != nil {
			return true, fmt.Errorf("hook %s: what is left of it does not end: %w", d.Hook, err)
		}
	}
	if !d.Undoes {
		return false, nil
	}
	if p.Hook == nil {
		return true, fmt.Errorf("hook %s of run %s is not undone: this program cannot make it", d.Hook, e.ID)
	}
	h, err := p.Hook(ctx, d.Hook, d.Debt)
	if err != nil {
		return true, fmt.Errorf("hook %s of run %s is not undone: %w", d.Hook, e.ID, err)
	}
	h.Name, h.Timeout = d.Hook, cmp.Or(d.Timeout, h.Timeout)
	return h.Undo(context.WithoutCancel(ctx), core.Moment{
		ID: e.ID, Job: e.Job, Dir: d.Dir, Err: errKilled,
		Runs: func(process core.Process) error { return e.Runs(h, core.Moment{Phase: core.Post}, process) },
	})
}

// errKilled is what posts are told that run later.
var errKilled = errors.New("the process that ran this was killed")

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
