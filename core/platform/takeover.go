package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A takeover is what a command found of others whose process was killed.
type takeover struct {
	*clearing // what is over, to be swept
	payments  []Payment
	wanted    []*entry // what can be gone on with, held
	wrong     []error  // what else there is to say
	killed    []Killed
}

// takeOver pays what dead runs owe, and takes what is over and what want says. The
// caller settles it, and releases what it wanted.
func (p *Platform) takeOver(ctx context.Context, want func(*entry) bool) (*takeover, error) {
	dead, broken, err := (&state{p.Env.StateDir}).dead(p.now(), want)
	if err != nil {
		return nil, err
	}
	t := &takeover{wrong: broken}
	var over []*entry
	for _, e := range dead {
		made, err := p.pay(ctx, e)
		if err != nil {
			made = append(made, Payment{ID: e.ID, Job: e.Job, Err: err, Owed: true})
		}
		t.payments = append(t.payments, made...)
		switch {
		case stillOwed(made):
			_ = e.release() // the next command tries again
		case !e.unfinished(p.now()):
			if e.sealed() && len(e.Agents) > 0 {
				t.wrong = append(t.wrong, fmt.Errorf("the archive of %s waited for %s until %s and is given up", e.ID, strings.Join(e.Agents, ", "), e.Keep.Format(time.RFC3339)))
			}
			killed, err := e.killed(p.now)
			if err != nil {
				t.wrong = append(t.wrong, err)
			}
			t.killed = append(t.killed, killed...)
			over = append(over, e)
		case want(e):
			t.wanted = append(t.wanted, e)
		default:
			_ = e.release() // what cannot be closed is closed with the process
		}
	}
	t.clearing = p.clear(over)
	return t, nil
}

// A Killed is a run whose process was killed, and that goes on nowhere.
type Killed struct {
	ID   core.ID
	Job  string
	Sent bool // it had packed: an agent may hold its backup. Else there is none
}

// killed is e, where it is a run that was killed and not one whose archive was kept,
// which is sent, or said to be given up. It is said once, by whoever finds it: the
// ledger has it that the run has ended then.
func (e *entry) killed(now func() time.Time) ([]Killed, error) {
	steps, err := readLedger(e.path(ledgerFile))
	packed := slices.ContainsFunc(steps, func(s step) bool { return s.Step == stepPacked })
	ended := func(s step) bool { return s.Step == stepEnded || s.State == core.Stored }
	kept := e.sealed() || packed && !e.Keep.IsZero()
	if err != nil || e.Spool == "" || kept || slices.ContainsFunc(steps, ended) {
		return nil, err
	}
	if err := e.open(now); err != nil {
		return nil, err
	}
	return []Killed{{e.ID, e.Job, packed}}, e.ledger.note(step{Step: stepEnded, Outcome: core.Failed, Error: errKilled.Error()})
}

func stillOwed(made []Payment) bool {
	for _, p := range made {
		if p.Owed {
			return true
		}
	}
	return false
}

// failed is what went wrong with payments.
func (t *takeover) failed() error {
	errs := slices.Clone(t.wrong)
	for _, p := range t.payments {
		errs = append(errs, p.Err)
	}
	return errors.Join(errs...)
}

// release lets go of everything.
func (t *takeover) release() error {
	err := t.clearing.release()
	for _, e := range t.wanted {
		err = errors.Join(err, e.release())
	}
	return err
}
