package platform

import (
	"context"
	"errors"

	"github.com/offsite-backup/offsite/core"
)

// A Recovery is what a recover found and did.
type Recovery struct {
	Payments []Payment // posts that were owed
	Sent     []Report  // of archives that waited for agents
	Left     []error   // what could not be cleared up
	Killed   []Killed  // runs of which nobody was told yet
}

// Done says that nothing is left to be done.
func (r Recovery) Done() bool {
	for _, p := range r.Payments {
		if p.Owed {
			return false
		}
	}
	for _, s := range r.Sent {
		if s.Outcome != core.OK {
			return false
		}
	}
	return len(r.Left) == 0
}

// Recover does what runs that were killed, or agents that were away, left to be
// done: it ends and undoes their hooks, sends archives that wait for agents, and
// sweeps what is left here and at agents. The error says that it could not look.
func (p *Platform) Recover(ctx context.Context) (Recovery, error) {
	var r Recovery
	t, err := p.takeOver(ctx, func(e *entry) bool { return e.waits(p.now()) })
	if err != nil {
		return r, err
	}
	r.Payments, r.Left, r.Killed = t.payments, t.wrong, t.killed
	for _, e := range t.wanted {
		r.Sent = append(r.Sent, p.resend(ctx, e))
	}
	for _, a := range p.Agents {
		if err := t.sweepWhole(ctx, a); err != nil {
			r.Left = append(r.Left, err)
		}
	}
	if err := t.settle(); err != nil {
		r.Left = append(r.Left, err)
	}
	return r, context.Cause(ctx)
}

// sweepWhole is sweep, and looks at agents too at which no dead run left anything:
// others may have.
func (c *clearing) sweepWhole(ctx context.Context, a core.Agent) error {
	err := c.sweepAll(ctx, a, c.own)
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.clean = append(c.clean, a.Name())
	}
	if errors.Is(err, core.ErrNoPlace) {
		return nil
	}
	return err
}
