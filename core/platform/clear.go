package platform

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// sweepTime bounds how long a command waits for places to be swept.
const sweepTime = 10 * time.Second

// A clearing is what is left of runs whose process was killed.
type clearing struct {
	*Platform
	mu      sync.Mutex
	entries []*entry
	clean   []string // agents at which nothing is left
}

// clear takes over what is left of dead runs. Spools and dumps are removed at once;
// what lies at agents goes when they are swept. A run of which something here
// cannot be removed is left to the next command.
func (p *Platform) clear(dead []*entry) *clearing {
	c := &clearing{Platform: p}
	for _, e := range dead {
		if e.empty() != nil {
			_ = e.release()
			continue
		}
		c.entries = append(c.entries, e)
	}
	return c
}

// own says whether an id is of a run that is over.
func (c *clearing) own(id core.ID) bool {
	return slices.ContainsFunc(c.entries, func(e *entry) bool { return e.ID == id })
}

// sweep removes what the dead runs left at an agent, where they may have.
func (c *clearing) sweep(ctx context.Context, a core.Agent) {
	if !slices.ContainsFunc(c.entries, func(e *entry) bool { return slices.Contains(e.Agents, a.Name()) }) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	if c.sweepAll(ctx, a, c.own) == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.clean = append(c.clean, a.Name())
	}
}

// settle ends the records of runs of which nothing is left anywhere.
func (c *clearing) settle() (err error) {
	for _, e := range c.entries {
		err = errors.Join(err, e.settle(c.clean))
	}
	return err
}

func (c *clearing) release() (err error) {
	for _, e := range c.entries {
		err = errors.Join(err, e.release())
	}
	return err
}

// sweep removes what is left at an agent of one id.
func (p *Platform) sweep(ctx context.Context, a core.Agent, id core.ID) error {
	return p.sweepAll(ctx, a, func(other core.ID) bool { return other == id })
}

// tidy removes what an earlier try to send id left at agents that have it now. A
// small archive goes in one piece, and half of one is of no use to the next try. It
// returns the names of agents at which something may be left.
func (p *Platform) tidy(ctx context.Context, id core.ID, results []core.AgentResult) (left []string) {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	for _, a := range p.Agents {
		if !slices.ContainsFunc(results, func(r core.AgentResult) bool { return r.Agent == a.Name() && r.State == core.Stored }) {
			continue
		}
		if err := p.sweep(ctx, a, id); err != nil {
			p.Env.WithDefaults().Log.Warn("something of an earlier try is left", "agent", a.Name(), "id", id, "error", err)
			left = append(left, a.Name())
		}
	}
	return left
}

// sweepAll removes what is left at an agent of own ids. What may not be removed, by
// credentials that may only add or because it is locked, is said now and not asked for
// again: it stays, as at such a place it is meant to.
func (p *Platform) sweepAll(ctx context.Context, a core.Agent, own func(core.ID) bool) (err error) {
	s, ok := a.(core.Sweeper)
	if !ok {
		return nil // a place that leaves nothing
	}
	for l, e := range s.Sweep(ctx, own) {
		switch {
		case e == nil || l.ID != "" && !own(l.ID):
		case l.ID != "" && (errors.Is(e, core.ErrDenied) || errors.Is(e, core.ErrLocked)):
			p.Env.WithDefaults().Log.Warn("what is left may not be removed, and stays", "agent", a.Name(), "id", l.ID, "key", l.Key, "error", e)
		default:
			err = errors.Join(err, e)
		}
	}
	return err
}
