package conformance

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// agentName is what the suite calls the agent under test.
const agentName = "conformance"

// A verdict is how a case ends. A case that does not pass panics with one, which
// play catches.
type verdict struct {
	status             Status
	reason             string // for machines
	expected, observed string
}

// A trial is one case being tried.
type trial struct {
	Case
	*suite
	ctx    context.Context
	random *rand.Rand // of the seed and the case; for the case's own goroutine
	dir    string     // the agent's state and cache
	now    func() time.Time

	mu     sync.Mutex
	steps  []string // what was done, for the report
	agents []core.Agent
	after  []func() error // done when the agents are closed
	log    bytes.Buffer
	places int
	ids    int
	wires  int
}

func (s *suite) newTrial(ctx context.Context, c Case) *trial {
	if s.target.Wire.opaque() && c.opaque != nil {
		c.run = c.opaque
	}
	return &trial{Case: c, suite: s, ctx: ctx, random: rand.New(rand.NewPCG(s.seed, hashOf(c.ID))), now: time.Now}
}

// play runs the case to its end, or to caseLimit.
func (t *trial) play() verdict {
	ctx, cancel := context.WithTimeout(t.ctx, caseLimit)
	defer cancel()
	t.ctx = ctx
	dir, err := os.MkdirTemp("", "offsite-conformance-")
	if err != nil {
		return verdict{status: Inconclusive, reason: "no temporary folder", expected: "a temporary folder", observed: err.Error()}
	}
	t.dir = dir
	defer func() { _ = os.RemoveAll(dir) }()
	ended := make(chan verdict, 1)
	go func() {
		v := t.guard(func() { t.run(t); t.closeAll() })
		t.guard(t.closeAll) // those of a case that failed
		ended <- v
	}()
	timer := time.NewTimer(caseLimit + 10*time.Second)
	defer timer.Stop()
	select {
	case v := <-ended:
		return v
	case <-timer.C:
		return verdict{Fail, "", "every call to return", fmt.Sprintf("the case is still waiting after %v", caseLimit)}
	}
}

// guard runs f and returns the verdict that it panics with. Any other panic is
// the agent's.
func (t *trial) guard(f func()) (v verdict) {
	v.status = Pass
	defer func() {
		switch p := recover().(type) {
		case nil:
		case verdict:
			v = p
		default:
			v = verdict{Fail, "", "no panic", fmt.Sprintf("panic: %v\n%s", p, firstFrames(debug.Stack()))}
		}
	}()
	f()
	return v
}

// firstFrames keeps the part of a stack that says where it happened.
func firstFrames(stack []byte) string {
	if _, after, ok := strings.Cut(string(stack), "panic("); ok {
		stack = []byte("panic(" + after)
	}
	lines := strings.Split(string(stack), "\n")
	return strings.Join(lines[:min(len(lines), 10)], "\n")
}

// fail ends the case.
func (t *trial) fail(expected, observed string, args ...any) {
	panic(verdict{Fail, "", expected, fmt.Sprintf(observed, args...)})
}

// inconclusive ends the case, because what it is about did not happen.
func (t *trial) inconclusive(reason, expected, observed string, args ...any) {
	panic(verdict{Inconclusive, reason, expected, fmt.Sprintf(observed, args...)})
}

// notApplicable ends the case by a rule of the suite.
func (t *trial) notApplicable(m Means, why string) {
	panic(verdict{status: NotApplicable, observed: string(m) + ": " + why})
}

// ok ends the case when the suite's own means fail.
func (t *trial) ok(err error, what string) {
	if err != nil {
		t.inconclusive("means", what, "%v", err)
	}
}

// did says, for the report, what happens next.
func (t *trial) did(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, fmt.Sprintf(format, args...))
}

// done is the last of what was done.
func (t *trial) done() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 8
	if n := len(t.steps); n > most {
		return append([]string{fmt.Sprintf("(%d steps before)", n-most)}, t.steps[n-most:]...)
	}
	return t.steps
}

// parallel runs f for each of n goroutines and waits for all. The verdict of the
// first of them, by number, is the case's.
func (t *trial) parallel(n int, f func(i int)) {
	verdicts := make([]verdict, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { verdicts[i] = t.guard(func() { f(i) }) })
	}
	all.Wait()
	for _, v := range verdicts {
		if v.status != Pass {
			panic(v)
		}
	}
}

// within runs f, which must return within the time that the contract gives. The
// rest of the wait is for a machine that is busy.
func (t *trial) within(what string, f func()) {
	ended := make(chan verdict, 1)
	go func() { ended <- t.guard(f) }()
	timer := time.NewTimer(obeyWithin + busy)
	defer timer.Stop()
	select {
	case v := <-ended:
		if v.status != Pass {
			panic(v)
		}
	case <-timer.C:
		t.fail(fmt.Sprintf("%s returns within %v", what, obeyWithin), "it is still running after %v", obeyWithin+busy)
	}
}

// until waits for something that the suite itself brings about.
func until[T any](t *trial, what string, c <-chan T) T {
	select {
	case v := <-c:
		return v
	case <-t.ctx.Done():
		t.inconclusive("wait", what, "it did not happen")
		panic("not reached")
	}
}

// reads waits until an upload has read so far as the suite lets it. One that ends
// before does not.
func (t *trial) reads(reached <-chan struct{}, ended <-chan error) {
	const expected = "the agent reads so far"
	select {
	case err := <-ended:
		t.fail(expected, "the upload has ended: %v", err)
	case <-reached:
	case <-t.ctx.Done():
		t.inconclusive("wait", expected, "it did not happen")
	}
}

// place makes a fresh namespace.
func (t *trial) place() Namespace {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.places++
	return t.namespace(fmt.Sprintf("%s-%d", strings.ToLower(t.ID), t.places))
}

func (t *trial) env() core.Env {
	return core.Env{
		Name: agentName, Now: t.now, Chance: chance{t}, StateDir: t.dir + "/state", CacheDir: t.dir + "/cache",
		Log: slog.New(slog.NewTextHandler(&logWriter{t}, nil)),
	}
}

type logWriter struct{ t *trial }

func (w *logWriter) Write(p []byte) (int, error) {
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	return w.t.log.Write(p)
}

// chance gives an agent randomness. It is not of the seed: two agents, and two
// runs on one place, must not draw the same.
type chance struct{ *trial }

func (chance) Read(p []byte) (int, error) {
	for i := 0; i < len(p); i += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], rand.Uint64())
		copy(p[i:], word[:])
	}
	return len(p), nil
}

// open opens an agent that the trial closes.
func (t *trial) open(ns Namespace) core.Agent { return t.opened(t.target.Open(t.ctx, ns, t.env())) }

// openFaulty opens an agent whose steps ask gate.
func (t *trial) openFaulty(ns Namespace, gate Gate) core.Agent {
	return t.opened(t.target.OpenFaulty(t.ctx, ns, t.env(), gate))
}

func (t *trial) opened(a core.Agent, err error) core.Agent {
	if err != nil {
		t.fail("an agent opens", "%v", err)
	}
	if a == nil {
		t.fail("an agent or an error", "neither")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.agents = append(t.agents, a)
	return a
}

// closeAll closes what the case opened, which must not fail.
func (t *trial) closeAll() {
	t.closeAgents()
	t.mu.Lock()
	after := t.after
	t.after = nil
	t.mu.Unlock()
	for _, f := range after {
		t.ok(f(), "the end of the suite's own means")
	}
}

func (t *trial) closeAgents() {
	t.mu.Lock()
	agents := t.agents
	t.agents = nil
	t.mu.Unlock()
	for _, a := range agents {
		t.within("Close", func() {
			if err := a.Close(); err != nil {
				t.fail("Close succeeds", "%v", err)
			}
		})
	}
}
