package conformance

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// Section G: who ends.
func cancel() []Case {
	return []Case{
		{
			ID: "G01", Words: "dead_context", Level: Short, run: deadContext,
			Clause: "A call whose context has ended returns context.Cause within two seconds even on a dead connection, and one that is called with an ended context asks the place nothing.",
			Why:    "a run that was stopped must not begin with its next upload",
		}, {
			ID: "G06", Words: "close_in_flight", Level: Short, run: closeInFlight,
			Clause: "Close ends running calls, which answer ErrClosed, and connections.",
			Why:    "a program that ends waits for ever for an upload, or takes half a list for the whole",
		}, {
			ID: "G03", Words: "goroutines", Level: Short, run: goroutines,
			Clause: "No goroutine and no temporary object outlives the call, except the parts that a later upload of the same id goes on with; those are listed by Sweep.",
			Why:    "one goroutine left by each download ends a program that runs for months",
		},
	}
}

func deadContext(t *trial) {
	ns := t.place()
	var rec recorder
	a := t.open(ns)
	if t.target.OpenFaulty != nil {
		a = t.openFaulty(ns, rec.gate)
	}
	s := t.stored(a, 1000)
	archive, err := a.Open(t.ctx, s.draft.ID)
	if err != nil {
		t.fail("Open", "%v", err)
	}
	cause := errors.New("the suite ended it before")
	ctx, end := context.WithCancelCause(t.ctx)
	end(cause)
	rec.set(nil)
	fresh := t.source(1000)
	for name, err := range t.everyCall(a, ctx, s.draft.ID, fresh) {
		t.did("%s with an ended context", name)
		if !errors.Is(err, cause) {
			t.fail(name+" returns the cause", "%v", err)
		}
		t.askedNothing(&rec, name)
	}
	t.did("Range with an ended context")
	r, err := archive.Range(ctx, 0, -1)
	if err == nil {
		_, err = r.Read(make([]byte, 1))
		t.close(r, "Close of a range")
	}
	if !errors.Is(err, cause) {
		t.fail("the cause", "%v", err)
	}
	t.askedNothing(&rec, "Range")
	t.close(archive, "Archive.Close")
	if fresh.read.Load() > 0 {
		t.fail("nothing of the source is read", "%d bytes", fresh.read.Load())
	}
	t.lists(a, s)
	t.same(a, s)
	t.cancelledList(cause)
}

func (t *trial) askedNothing(rec *recorder, name string) {
	if steps := rec.seen(); len(steps) > 0 {
		t.fail(name+" asks the place nothing", "%d steps, the first is %s %s", len(steps), steps[0].Op, kindOfKey(steps[0].Key))
	}
}

// slowList lists n backups and stops for a while after the first, in which end
// happens. The list must be whole, or say at its end why it is not.
func (t *trial) slowList(ctx context.Context, a core.Agent, n int, why error, end func()) {
	var last entry
	whole := 0
	t.within("a list that was ended", func() {
		for b, err := range a.List(ctx) {
			last = entry{b, err}
			if err == nil {
				whole++
			}
			if whole == 1 && err == nil {
				t.idle() // what is read ahead is read now
				end()
				t.idle()
			}
		}
	})
	if whole < n && (last.err == nil || last.ID != "") {
		t.fail("a list that ends with an error with an empty id", "%d of %d backups, and then %q: %v", whole, n, last.ID, last.err)
	}
	if whole < n && !errors.Is(last.err, why) {
		t.fail(fmt.Sprintf("a list that ends with: %v", why), "%v", last.err)
	}
}

// manyListed is more than an agent reads ahead.
const manyListed = 60

func (t *trial) cancelledList(cause error) {
	ns := t.place()
	a := t.open(ns)
	t.plant(ns, a, manyListed)
	t.did("a list of %d is cancelled after the first, while its reader is slow", manyListed)
	ctx, cancel := context.WithCancelCause(t.ctx)
	defer cancel(nil)
	t.slowList(ctx, a, manyListed, cause, func() { cancel(cause) })
}

func closeInFlight(t *trial) {
	ns := t.place()
	t.plant(ns, t.open(ns), manyListed)
	t.within("Close in the middle of a list", func() { t.closedList(t.open(ns)) })
	size, offs := t.offsets()
	a, s := t.open(ns), t.source(size)
	reached, release := s.holdAt(offs[len(offs)/2])
	defer release()
	t.did("Close while an upload waits for its source")
	ended := make(chan error, 1)
	go func() { ended <- t.upload(t.ctx, a, s) }()
	t.reads(reached, ended)
	t.within("Close", func() { t.close(a, "Close") })
	t.within("an upload whose agent is closed", func() { t.kind(until(t, "the upload ends", ended), core.ErrClosed) })
	fresh := t.open(ns)
	t.absent(fresh, s.draft.ID)
	t.did("the same once more, and it holds")
	again := sourceOf(s.draft.ID, s.draft.Created, s.content)
	t.store(fresh, again)
	t.same(fresh, again)
}

// closedList closes an agent in the middle of a list. Close may wait for who reads
// the list, and begins when other calls are refused.
func (t *trial) closedList(a core.Agent) {
	t.did("Close after the first of a list of %d, while its reader is slow", manyListed)
	closed := make(chan error, 1)
	t.slowList(t.ctx, a, manyListed, core.ErrClosed, func() {
		go func() { closed <- a.Close() }()
		t.untilClosing(a)
	})
	if err := until(t, "Close ends", closed); err != nil {
		t.fail("Close succeeds", "%v", err)
	}
}

func (t *trial) untilClosing(a core.Agent) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := a.Get(t.ctx, "none"); errors.Is(err, core.ErrClosed) {
			return
		}
		until(t, "calls are refused once Close has begun", tick.C)
	}
}

func goroutines(t *trial) {
	ns := t.place()
	a := t.open(ns)
	s := t.stored(a, 300_000)
	t.same(a, s)
	t.lists(a, s)
	t.closeAll()
	base := t.settled(0)
	a = t.open(ns)
	t.did("100 uploads that fail, 100 reads that are given up, 100 lists that stop early, then Close")
	for i := range 100 {
		bad := t.source(10_000)
		bad.failingAt(int64(i*100), errors.New("the source breaks"))
		_ = t.upload(t.ctx, a, bad) // C02 looks at the error
		archive, err := a.Open(t.ctx, s.draft.ID)
		if err != nil {
			t.fail("Open", "%v", err)
		}
		r, err := archive.Range(t.ctx, 0, -1)
		if err != nil {
			t.fail("Range", "%v", err)
		}
		if _, err := r.Read(make([]byte, 10)); err != nil {
			t.fail("a read", "%v", err)
		}
		t.close(r, "Close of a range")
		t.close(archive, "Archive.Close")
		for range a.List(t.ctx) {
			break
		}
	}
	t.closeAll()
	if now := t.settled(base); now > base {
		t.fail(fmt.Sprintf("%d goroutines, as before", base), "%s more\n%s", several(now-base), stacks())
	}
	t.same(t.open(ns), s)
}

// several keeps the report of a leak the same from run to run.
func several(n int) string {
	if n >= 50 {
		return "50 or"
	}
	return "some"
}

// settled waits until there are no more than so many goroutines, or their number
// does not change any more, and returns it.
func (t *trial) settled(most int) int {
	end := time.NewTimer(2 * time.Second)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last, same := runtime.NumGoroutine(), 0
	for {
		select {
		case <-tick.C:
		case <-end.C:
			return runtime.NumGoroutine()
		}
		n := runtime.NumGoroutine()
		if n <= most {
			return n
		}
		if same++; n != last {
			last, same = n, 0
		}
		if most == 0 && same > 10 {
			return n
		}
	}
}

// stacks are the most frequent goroutines, by name of function.
func stacks() string {
	var b strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return err.Error()
	}
	lines := strings.SplitAfter(b.String(), "\n")
	return strings.Join(lines[:min(len(lines), 8)], "")
}
