package conformance

import (
	"context"
	"fmt"
	"sync"

	"github.com/offsite-backup/offsite/core"
)

// A recorder is a gate that remembers every step and fails those that it was
// told to.
type recorder struct {
	mu    sync.Mutex
	steps []Step
	fails func(n int, s Step) Fault // n counts from 0; nil fails nothing
	fired []Step
}

func (r *recorder) gate(s Step) Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.steps)
	r.steps = append(r.steps, s)
	if r.fails == nil {
		return NoFault
	}
	f := r.fails(n, s)
	if f != NoFault {
		r.fired = append(r.fired, s)
	}
	return f
}

// set begins anew, with another rule.
func (r *recorder) set(fails func(n int, s Step) Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steps, r.fired, r.fails = nil, nil, fails
}

func (r *recorder) seen() []Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Step(nil), r.steps...)
}

// shot returns the steps that failed, and says so in the report. A fault that did
// not fire ends the case.
func (r *recorder) shot(t *trial, what string) []Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.fired) == 0 {
		t.inconclusive("fault: "+what, what+" fires", "it did not; the agent took %d steps", len(r.steps))
	}
	t.did("%s at: %s %s", what, r.fired[0].Op, kindOfKey(r.fired[0].Key))
	return r.fired
}

// kindOfKey is the folder of a key, which does not change from run to run.
func kindOfKey(key string) string {
	for i := range key {
		if key[i] == '/' {
			return key[:i+1] + "…"
		}
	}
	return key
}

// nth fails one step of those for which match says so.
func nth(k int, fault Fault, match func(Step) bool) func(int, Step) Fault {
	seen := 0
	return func(_ int, s Step) Fault {
		if !match(s) {
			return NoFault
		}
		seen++
		if seen-1 == k {
			return fault
		}
		return NoFault
	}
}

// from fails every step from the k-th on, for which match says so: the place is
// gone.
func from(k int, fault Fault, match func(Step) bool) func(int, Step) Fault {
	seen := 0
	return func(_ int, s Step) Fault {
		if !match(s) {
			return NoFault
		}
		seen++
		if seen > k {
			return fault
		}
		return NoFault
	}
}

func anyStep(Step) bool { return true }

func count(steps []Step, match func(Step) bool) (n int) {
	for _, s := range steps {
		if match(s) {
			n++
		}
	}
	return n
}

// sample returns at most n of the numbers below total, the first and the last
// among them, in order.
func (t *trial) sample(total, n int) []int {
	var all []int
	for i := range total {
		if total <= n || i == 0 || i == total-1 || t.random.IntN(total) < n {
			all = append(all, i)
		}
	}
	return all
}

// wholeOrAbsent demands that an id is a whole backup or nothing at all, and says
// which.
func (t *trial) wholeOrAbsent(a core.Agent, s *source) bool {
	if _, err := a.Get(t.ctx, s.draft.ID); err != nil {
		t.absent(a, s.draft.ID)
		return false
	}
	t.same(a, s)
	for _, e := range t.entries(a) {
		if e.err != nil {
			t.fail("a list without an error", "%q: %v", e.ID, e.err)
		}
	}
	return true
}

// failingAt is a source whose reads that need a byte past off fail with err.
func (s *source) failingAt(off int64, err error) {
	s.before = func(_ context.Context, end int64) error {
		if end > off {
			return err
		}
		return nil
	}
}

func at(off, size int64) string { return fmt.Sprintf("at byte %d of %d", off, size) }
