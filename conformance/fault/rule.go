package fault

import (
	"math"
	"net/http"
	"sync"
	"time"
)

// Always, as Rule.Times, means every request from then on.
const Always = math.MaxInt

// A Request is what a rule can look at. In an opaque proxy it is a connection, of
// which nothing but Conn is known.
type Request struct {
	Method string
	Target string      // as it stands in the first line: path and query, still escaped
	Host   string      //
	Header http.Header // not to be changed
	Length int64       // of its body; -1 where it does not say
	Conn   int         // the connection that it came on, counted from 1
	When   time.Time   // its head was there
}

// A Rule says to which requests a fault happens. It is armed once, and its exported
// fields are not changed after that. At most one fault happens to a request: that
// of the first rule which has it, and the rules behind that do not count it.
type Rule struct {
	Match func(Request) bool // which requests it is about; nil means all. It asks the proxy nothing
	Skip  int                // how many of those pass before
	Times int                // how many are hit; 0 means one, Always all
	Fault Fault

	mu       sync.Mutex
	matched  int
	fired    int
	happened chan struct{}
	released chan struct{}
	free     bool
}

// Fired is how often the fault really happened. One that waits for a byte which
// never came did not.
func (r *Rule) Fired() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fired
}

// Happened is closed when the fault happens for the first time.
func (r *Rule) Happened() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first()
}

func (r *Rule) first() chan struct{} {
	if r.happened == nil {
		r.happened = make(chan struct{})
	}
	return r.happened
}

// Release ends all stalls of this rule, now and from now on: what was held back
// goes on its way.
func (r *Rule) Release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.free {
		r.free = true
		close(r.freed())
	}
}

func (r *Rule) freed() chan struct{} {
	if r.released == nil {
		r.released = make(chan struct{})
	}
	return r.released
}

func (r *Rule) release() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.freed()
}

func (r *Rule) fire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fired++; r.fired == 1 {
		close(r.first())
	}
}

// takes says whether a request is one of those that are hit, and counts it.
func (r *Rule) takes(q Request) bool {
	if r.Match != nil && !r.Match(q) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.matched - r.Skip
	r.matched++
	return n >= 0 && n < max(r.Times, 1)
}
