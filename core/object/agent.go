package object

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// An Agent is a core.Agent, a core.Sweeper and a core.Examiner over a Store.
type Agent struct {
	store Store
	env   core.Env
	cache cache

	root  context.Context // ends with Close, cause ErrClosed
	close context.CancelCauseFunc

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // calls that use the store
}

var (
	_ core.Agent    = (*Agent)(nil)
	_ core.Sweeper  = (*Agent)(nil)
	_ core.Examiner = (*Agent)(nil)
)

// New returns the agent of a store, which it closes. Its name is env.Name.
func New(store Store, env core.Env) *Agent {
	env = env.WithDefaults()
	a := &Agent{store: store, env: env, cache: openCache(env.CacheDir, env.Name)}
	a.root, a.close = context.WithCancelCause(context.Background())
	return a
}

// Name returns the agent's name in its deployment.
func (a *Agent) Name() string { return a.env.Name }

// Close ends running calls, waits for them, and closes the store.
func (a *Agent) Close() error {
	a.mu.Lock()
	first := !a.closed
	a.closed = true
	a.mu.Unlock()
	a.close(core.ErrClosed)
	a.running.Wait()
	if !first {
		return nil
	}
	return a.store.Close()
}

// A call is one call of a method, from its first request to its last.
type call struct {
	context.Context
	agent  *Agent
	op     string
	id     core.ID
	caller context.Context
	cancel context.CancelCauseFunc
	leave  func() // from here on Close does not wait for the call
	end    func() // ends its context too
}

// begin starts a call, which ends with ctx and with the agent. The caller calls
// end when it makes no more requests.
func (a *Agent) begin(ctx context.Context, op string, id core.ID) (*call, error) {
	c := &call{Context: ctx, agent: a, op: op, id: id, caller: ctx}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, c.error(core.ErrClosed)
	}
	a.running.Add(1)
	inner, cancel := context.WithCancelCause(ctx)
	c.Context, c.cancel = inner, cancel
	unhook := context.AfterFunc(a.root, func() { cancel(core.ErrClosed) })
	c.leave = sync.OnceFunc(a.running.Done)
	c.end = func() {
		unhook()
		cancel(nil)
		c.leave()
	}
	return c, nil
}

var errOver = errors.New("not through after")

// limit ends the call after d, 0 meaning never. The caller calls stop.
func (c *call) limit(d time.Duration) (stop func()) {
	if d == 0 {
		return func() {}
	}
	timer := time.AfterFunc(d, func() { c.cancel(core.Errorf(core.ErrUnavailable, "%w %v", errOver, d)) })
	return func() { timer.Stop() }
}

// error says what a call's error means to its caller: the caller's own reason
// when it cancelled, that the agent was closed, or agent, operation and id with
// the place's reason.
func (c *call) error(err error) error {
	switch {
	case err == nil:
		return nil
	case c.caller.Err() != nil:
		return context.Cause(c.caller)
	case c.agent.root.Err() != nil:
		err = core.ErrClosed
	case errors.Is(context.Cause(c.Context), errOver):
		err = context.Cause(c.Context)
	}
	e := core.Error{Kind: core.ErrUnavailable, Err: err}
	var kind core.ErrorKind
	if inner := (*core.Error)(nil); errors.As(err, &inner) {
		e = *inner
	} else if errors.As(err, &kind) {
		e = core.Error{Kind: kind}
	}
	e.Agent, e.Op, e.ID = c.agent.Name(), c.op, c.id
	return &e
}

// source says that a source failed, whose error keeps its identity.
func (c *call) source(err error) error {
	if c.caller.Err() != nil || c.agent.root.Err() != nil {
		return c.error(err)
	}
	return fmt.Errorf("%s: %s: %s: %w", c.agent.Name(), c.op, c.id, err)
}

// The operations, as errors name them.
const (
	opUpload  = "upload"
	opOpen    = "open"
	opRead    = "read"
	opList    = "list"
	opGet     = "get"
	opDelete  = "delete"
	opSweep   = "sweep"
	opExamine = "examine"
)
