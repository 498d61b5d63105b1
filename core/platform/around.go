package platform

import (
	"context"
	"errors"

	"github.com/offsite-backup/offsite/core"
)

// Around runs hooks around body, which is no run of a job and must not meet one: a
// restore. It holds the lock of the job (ErrBusy), pays what dead runs owe, and has
// its own debts on disk, which are paid as those of a run are. dir is each hook's
// directory, absolute. found tells of dead runs, its Payments and Killed; what went
// wrong there is part of the error too. body gets how each pre went.
func (p *Platform) Around(ctx context.Context, job string, hooks []core.Hook, dir func(hook string) string, body func(context.Context, []core.HookRun) error) (found Recovery, err error) {
	st := &state{p.Env.StateDir}
	free, err := st.job(job)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, free()) }()
	cleared, err := p.takeOver(ctx, func(*entry) bool { return false })
	if err != nil {
		return found, err
	}
	found.Payments, found.Killed = cleared.payments, cleared.killed
	paid := errors.Join(cleared.settle(), cleared.failed())
	e, err := p.record(st, job)
	if err != nil {
		return found, errors.Join(err, paid)
	}
	pipeline := core.Pipeline{Hooks: hooks, Dir: dir, Debts: e}
	err = pipeline.Run(ctx, core.Moment{ID: e.ID, Job: job}, body)
	ended := e.ledger.note(step{Step: stepEnded, Error: text(err)})
	return found, errors.Join(err, ended, e.end(), paid)
}

// record makes the record of what stores nothing and may owe something.
func (p *Platform) record(st *state, job string) (*entry, error) {
	now := p.now()
	id, err := core.NewID(now, p.Env.WithDefaults().Chance)
	if err != nil {
		return nil, err
	}
	return st.create(record{ID: id, Job: job, Created: now}, p.now)
}
