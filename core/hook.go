package core

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// A Hook is a pair of actions around a backup: Pre pauses the application or
// dumps its data, Post undoes it. After is told how the whole run went. Each may
// be nil.
//
// An action ends with its ctx. One that does not is left behind when its time is
// over, and the run goes on as if it had failed: an application must not stay
// paused because a hook hangs.
type Hook struct {
	Name     string        // unique in a pipeline; names its directory in the archive
	Optional bool          // a failed Pre is reported and does not stop the run
	Timeout  time.Duration // for each action; 0 means DefaultTimeout
	Pre      func(context.Context, Moment) error
	Post     func(context.Context, Moment) error
	After    func(context.Context, Moment, Result) error

	// Ready answers why an action could not run when it is due, such as a program that is
	// not there, and changes nothing; it may be asked of any phase. Nil: nobody knows.
	Ready func(Phase) error

	// Debt is what another process needs to make this hook again and run its Post
	// when this process died: its kind, arguments, references to secrets. Nil where
	// no other process can.
	Debt []byte
}

// DefaultTimeout is the time that an action of a hook has where it sets none.
const DefaultTimeout = 10 * time.Minute

// A Moment is what a hook is told.
type Moment struct {
	ID    ID     // the run, and the backup that it makes
	Job   string //
	Phase Phase  //
	Dir   string // the hook's own directory: its files go into the archive as hooks/<name>/
	Err   error  // what has gone wrong by then, for Post

	// Runs is called by an action that starts a process group of its own, before
	// anything runs in it, and returns when that is on disk: whoever pays for a
	// process that died ends what is left of the group first. Nil where nobody keeps
	// it.
	Runs func(Process) error
}

// A Process is what runs outside of this one for an action.
type Process struct {
	Group int    `json:"group"`           // its process group
	Began string `json:"began,omitempty"` // when the group's first process did, as the system counts: numbers are used again

	// Leaves says that what the action leaves running when it ends by itself is to go on:
	// the application that it started. Only an action that has not ended is ended then.
	Leaves bool `json:"leaves,omitempty"`
}

// A Phase is the action that a hook is called for.
type Phase string

// The phases of a hook.
const (
	Pre   Phase = "pre"
	Post  Phase = "post"
	After Phase = "after"
)

// A Result is how a run went.
type Result struct {
	Outcome Outcome
	Backup  Backup // as far as it is known
	Agents  []AgentResult
	Err     error // why, where the outcome is not OK
}

// An Outcome is how a run went as a whole.
type Outcome string

// The outcomes of a run.
const (
	OK       Outcome = "ok"       // everything as it should be
	Degraded Outcome = "degraded" // enough copies, not all
	Failed   Outcome = "failed"   // not enough copies
)

// An AgentResult is how one agent's part of a run went.
type AgentResult struct {
	Agent string
	State State
	Err   error // why, where the state is Missing or Pending
}

// A State is how one agent stands to a backup.
type State string

// The states of an agent's part of a run.
const (
	Stored  State = "stored"  // the agent holds it, whole and checked
	Missing State = "failed"  // the agent does not hold it
	Pending State = "pending" // the agent will be asked again
	Skipped State = "skipped" // the run failed before there was an archive for the agent
)

// Debts remembers what hooks were begun, so that a later process can undo them
// after this one was killed.
type Debts interface {
	// Owe returns when it is on disk that h was begun, and that its post is owed
	// where it has one. It is called before h's pre starts; when it fails, the pre
	// does not start.
	Owe(ctx context.Context, h Hook, m Moment) error

	// Runs returns when it is on disk that an action of h runs in a process group.
	Runs(h Hook, m Moment, p Process) error

	// Paid strikes h off. It is called when its post has ended, whether or not it
	// failed: what failed is reported, and does not run again at every command from
	// then on. One that was left behind is still owed.
	Paid(ctx context.Context, h Hook, m Moment) error
}

// A Pipeline runs hooks around the reading of an application's data. It is not
// changed while it runs; one Pipeline may run several times, not at once.
type Pipeline struct {
	Hooks    []Hook
	MaxPause time.Duration            // from the first pre to the first post, where a hook has either; 0 means no limit
	Debts    Debts                    // nil: posts are owed in memory only
	Dir      func(hook string) string // each hook's directory; nil: none
}

// Ready answers why a run should not begin: what keeps a Pre from running that must, or
// a Post, without which the application would stay paused. What an optional Pre or an
// After lacks shows when it is its turn.
func (p Pipeline) Ready() error {
	var errs []error
	for _, h := range p.Hooks {
		if h.Pre != nil && !h.Optional {
			errs = append(errs, h.ready(Pre))
		}
		if h.Post != nil {
			errs = append(errs, h.ready(Post))
		}
	}
	return errors.Join(errs...)
}

func (h Hook) ready(phase Phase) error {
	if h.Ready == nil {
		return nil
	}
	if err := h.Ready(phase); err != nil {
		return fmt.Errorf("hook %s: %s: %w", h.Name, phase, err)
	}
	return nil
}

// ErrPause is the cause of a run that held its application for longer than
// MaxPause.
var ErrPause = errors.New("max_pause is over")

// Run calls each hook's Pre in order, then body, then Post in reverse order for
// every hook whose Pre was started, whatever happened: an error, a panic, the end
// of ctx, a time limit. A failed Pre of a hook that is not optional keeps body
// from being called. body gets how each Pre went.
//
// When MaxPause is over, body's context ends and the posts run at once, without
// waiting for body; Run returns after both. Posts run with a context of their own
// that the end of ctx does not touch. The error joins everything that failed but
// the pres of optional hooks, of which what body gets tells; what the posts say is
// a PostError in it.
func (p Pipeline) Run(ctx context.Context, m Moment, body func(context.Context, []HookRun) error) error {
	r := &pipelineRun{Pipeline: p, moment: m}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if p.MaxPause > 0 && slices.ContainsFunc(p.Hooks, Hook.pauses) {
		var end context.CancelFunc
		ctx, end = context.WithTimeoutCause(ctx, p.MaxPause, fmt.Errorf("the application was held for %v: %w", p.MaxPause, ErrPause))
		defer end()
	}
	err := r.pres(ctx)
	var left <-chan error
	if err == nil {
		left, err = wait(ctx, start(func() error { return body(ctx, r.runs) }))
	}
	posts := r.posts(context.WithoutCancel(ctx), err)
	if left != nil {
		err = both(err, <-left)
	}
	if posts != nil {
		posts = &PostError{posts}
	}
	return errors.Join(err, posts)
}

// A PostError says that posts failed: what their pres did may not be undone.
type PostError struct{ Err error }

// Error returns what the posts said.
func (e *PostError) Error() string { return e.Err.Error() }

// Unwrap returns the errors of the posts, joined.
func (e *PostError) Unwrap() error { return e.Err }

// Tell calls each hook's After in order with the result. It is never owed: what
// fails is reported and nothing else.
func (p Pipeline) Tell(ctx context.Context, m Moment, res Result) error {
	var errs []error
	m.Phase = After
	for _, h := range p.Hooks {
		if h.After != nil {
			_, err := h.call(ctx, After, func(ctx context.Context) error { return h.After(ctx, m, res) })
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// A pipelineRun is one run of a pipeline.
type pipelineRun struct {
	Pipeline
	moment  Moment
	started []Hook
	runs    []HookRun
}

func (r *pipelineRun) at(h Hook, phase Phase, err error) Moment {
	m := r.moment
	m.Phase, m.Err = phase, err
	if r.Dir != nil {
		m.Dir = r.Dir(h.Name)
	}
	if r.Debts != nil {
		of := m
		m.Runs = func(p Process) error { return r.Debts.Runs(h, of, p) }
	}
	return m
}

func (r *pipelineRun) pres(ctx context.Context) error {
	for _, h := range r.Hooks {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !h.pauses() {
			continue
		}
		began := time.Now()
		err := contain(func() error { return r.pre(ctx, h) })
		status := "ok"
		if err != nil {
			status = "failed"
		}
		r.runs = append(r.runs, HookRun{Name: h.Name, Status: status, Millis: time.Since(began).Milliseconds()})
		if err != nil && (!h.Optional || ctx.Err() != nil) {
			return err
		}
	}
	return nil
}

func (r *pipelineRun) pre(ctx context.Context, h Hook) error {
	m := r.at(h, Pre, nil)
	if r.Debts != nil {
		if err := r.Debts.Owe(ctx, h, m); err != nil {
			return fmt.Errorf("hook %s: noting what it owes: %w", h.Name, err)
		}
	}
	r.started = append(r.started, h)
	if h.Pre == nil {
		return nil
	}
	_, err := h.call(ctx, Pre, func(ctx context.Context) error { return h.Pre(ctx, m) })
	return err
}

func (r *pipelineRun) posts(ctx context.Context, cause error) error {
	var errs []error
	for i := len(r.started) - 1; i >= 0; i-- {
		h := r.started[i]
		errs = append(errs, contain(func() error { return r.post(ctx, h, cause) }))
	}
	return errors.Join(errs...)
}

func (r *pipelineRun) post(ctx context.Context, h Hook, cause error) error {
	m := r.at(h, Post, cause)
	var err error
	if h.Post != nil {
		var left bool
		if left, err = h.call(ctx, Post, func(ctx context.Context) error { return h.Post(ctx, m) }); left {
			return err
		}
	}
	if r.Debts == nil {
		return err
	}
	if paid := r.Debts.Paid(ctx, h, m); paid != nil {
		err = errors.Join(err, fmt.Errorf("hook %s: striking off what it owed: %w", h.Name, paid))
	}
	return err
}

// Undo runs the post of a hook that another process began and did not end, within
// its time limit. left says that it did not return, and is still owed.
func (h Hook) Undo(ctx context.Context, m Moment) (left bool, err error) {
	if h.Post == nil {
		return false, nil
	}
	m.Phase = Post
	return h.call(ctx, Post, func(ctx context.Context) error { return h.Post(ctx, m) })
}

func (h Hook) pauses() bool { return h.Pre != nil || h.Post != nil }

// call runs one action within its time limit. left says that it did not return.
func (h Hook) call(ctx context.Context, phase Phase, action func(context.Context) error) (left bool, err error) {
	limit := h.Timeout
	if limit == 0 {
		limit = DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("its time of %v is over: %w", limit, context.DeadlineExceeded))
	defer cancel()
	late, err := wait(ctx, start(func() error { return action(ctx) }))
	if late != nil {
		// Give an action that obeys its context the moment it needs to clean up.
		grace := time.NewTimer(leaveTime)
		defer grace.Stop()
		select {
		case e := <-late:
			err = both(err, e)
		case <-grace.C:
			left = true
		}
	}
	if err != nil {
		err = fmt.Errorf("hook %s: %s: %w", h.Name, phase, err)
	}
	return left, err
}

// leaveTime is how long an action whose time is over may take to return; posts
// of a paused application begin within a second.
const leaveTime = 500 * time.Millisecond

// start runs f and gives what it returned. A panic is an error, and so is an f
// that ends its goroutine.
func start(f func() error) <-chan error {
	ended := make(chan error, 1)
	go func() {
		err := errors.New("ended without an answer")
		defer func() { ended <- err }()
		err = contain(f)
	}()
	return ended
}

// wait returns what was ended with. When ctx is over by then, that is why, even
// if all went well: what ends with its context may not have done its work. left
// is what is still to come.
func wait(ctx context.Context, ended <-chan error) (left <-chan error, err error) {
	select {
	case err = <-ended:
	case <-ctx.Done():
		return ended, context.Cause(ctx)
	}
	if ctx.Err() != nil {
		err = both(context.Cause(ctx), err)
	}
	return nil, err
}

// both is an error that was caused by another, saying each once.
func both(cause, err error) error {
	switch {
	case err == nil:
		return cause
	case errors.Is(err, cause):
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// contain turns a panic of f into an error.
func contain(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f()
}
