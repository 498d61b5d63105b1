package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/core"
)

// Section J: how long an agent waits.
func wireTimes() []Case {
	needs := []Means{MeansWire}
	return []Case{
		{
			ID: "J04", Words: "stall", Level: Short, Needs: []Means{MeansWire, MeansRaw}, run: stalls, Clause: clauseStall,
			Why: "a firewall forgot a connection, and the nightly backup waited on it until somebody looked",
		}, {
			ID: "J05", Words: "slow_but_alive", Level: Core, Needs: needs, run: slowAlive,
			Clause: "One on which bytes move may take as long as it takes.",
			Why:    "a fixed time for a request makes backups over slow lines impossible, for ever",
		}, {
			ID: "J06", Words: "slow-loris", Level: Short, Needs: needs, run: slowHeads, Clause: clauseStall,
			Why: "a server that is nearly dead held a run for as long as it liked",
		}, {
			ID: "J07", Words: "throttling", Level: Short, Needs: needs, run: throttled, Clause: clauseRetry,
			Why: "who asks again at once what was throttled is throttled more, and who asks for ever never says that it failed",
		},
	}
}

// hasty is the patience of cases that wait for its end.
var hasty = core.Patience{Stall: time.Second, Retry: 2 * time.Second}

// most is how long a call may take whose requests all stall. An upload ends with
// a commit, whose answer may take its time: it is given ten times as much.
func most(call string, p core.Patience) time.Duration {
	if call == "Upload" {
		return p.Retry + 10*p.Stall
	}
	return p.Retry + 2*p.Stall
}

// A stalled call meets a stall once, and one that it does not get past.
type stalled struct {
	call    string
	once    fault.Fault
	forever fault.Fault
	match   func(fault.Request) bool
}

func (t *trial) stalled() []stalled {
	half := t.middle()
	return []stalled{
		{"Upload", fault.StallUp(half), fault.StallUp(0), hasBody},
		{"Upload", fault.StallAnswer(), fault.StallAnswer(), anyRequest},
		{"Open", fault.StallDown(half), fault.StallDown(0), readsArchive},
		{"Open", fault.StallAnswer(), fault.StallAnswer(), anyRequest},
		{"Get", fault.StallDown(1), fault.StallDown(0), reads},
		{"List", fault.StallDown(1), fault.StallDown(0), t.target.Wire.Page},
		{"Delete", fault.StallAnswer(), fault.StallAnswer(), anyRequest},
	}
}

// stalls has nothing move on a connection: whenever it is asked, and then once, after
// which a call may take as long as its work does.
func stalls(t *trial) {
	ns := t.place()
	direct := t.open(ns)
	stored, all := t.stored(direct, t.errandSize()), t.stalled()
	about := func(call string) *source {
		switch call {
		case "Upload":
			return t.source(t.errandSize())
		case "Delete":
			s := t.source(100)
			t.ok(t.upload(t.ctx, direct, s), "an upload")
			return s
		}
		return stored
	}
	for _, times := range []int{fault.Always, 1} {
		sources := make([]*source, len(all))
		for i, c := range all {
			sources[i] = about(c.call)
		}
		t.did("each call, stalled %s, with a patience of %v for a stall and %v for all", map[int]string{1: "once", fault.Always: "for ever"}[times], hasty.Stall, hasty.Retry)
		t.spread(len(all), func(i int) {
			t.stall(ns, all[i], sources[i], times)
			t.wholeOr(direct, sources[i], core.ErrNotFound)
		})
	}
}

func (t *trial) stall(ns Namespace, c stalled, s *source, times int) {
	stops, bound := c.once, caseLimit/2
	if times == fault.Always {
		stops, bound = c.forever, most(c.call, hasty)
	}
	what := fmt.Sprintf("%s, with a %v", c.call, stops)
	var r *fault.Rule
	var err error
	for range 3 { // where the machine is so slow that the call gives up before it comes to that
		w := t.wired(ns, hasty)
		r = w.arm(&fault.Rule{Match: c.match, Fault: stops, Times: times})
		err = t.ending(what, bound, func(ctx context.Context) error { return t.call(w, ctx, c.call, s) })
		if r.Fired() > 0 || !errors.Is(err, core.ErrUnavailable) {
			break
		}
	}
	t.fired(r, "at "+c.call)
	if times == fault.Always && err == nil {
		t.fail(what+" at every request answers that it did not succeed", "no error")
	}
	if err != nil {
		t.kind(err, core.ErrUnavailable)
	}
	r.Release()
}

// slowAlive moves an archive up and down so slowly that each takes three times as
// long as a stall may.
func slowAlive(t *trial) { slowAliveIn(t, readsArchive, hasBody) }

// slowAliveIn is slowAlive, where read and write know the requests that move archives.
func slowAliveIn(t *trial, read, write func(fault.Request) bool) {
	const stall, takes = time.Second, 3
	ns := t.place()
	down := t.target.Limits.PartSize
	s := t.stored(t.open(ns), min(down, 4<<20))
	patience := core.Patience{Stall: stall, Retry: 2 * time.Second}
	w := t.wired(ns, patience)
	r := w.arm(&fault.Rule{
		Match: read, Times: fault.Always, Fault: fault.SlowDown(s.size / takes),
	})
	t.slowly("a read", takes*stall/2, r, func() error {
		got, err := t.whole(w, s.draft.ID)
		if err == nil && (got.size != s.size || got.sum != s.seal().SHA256) {
			t.fail("the bytes that were uploaded", "%d bytes, others", got.size)
		}
		return err
	})
	// What fits into the buffers of the system below the agent is gone at once, and
	// nothing more moves until it has passed: that has to be quick.
	const rate = 1 << 20
	up := t.source(takes * rate)
	w = t.wired(ns, patience)
	r = w.arm(&fault.Rule{Match: write, Times: fault.Always, Fault: fault.SlowUp(rate)})
	t.slowly("an upload", takes*stall/2, r, func() error { return t.upload(t.ctx, w, up) })
	t.sameQuietly(t.open(ns), up)
}

// slowly runs a call that must succeed although it takes some time, and be that slow
// to mean something.
func (t *trial) slowly(what string, least time.Duration, r *fault.Rule, call func() error) {
	t.did("%s, with a %v", what, r.Fault)
	begin := time.Now()
	err := call()
	if err != nil {
		t.fail(what+" on which bytes move succeeds", "after %v: %v", time.Since(begin).Round(time.Second), err)
	}
	t.fired(r, "at "+what)
	if took := time.Since(begin); took < least {
		t.inconclusive("fault: "+r.Fault.String(), fmt.Sprintf("%s takes at least %v", what, least), "%v", took)
	}
}

// slowHeads sends the head of each answer at a byte a second.
func slowHeads(t *trial) {
	ns := t.place()
	s := t.stored(t.open(ns), 1000)
	calls := []string{"Upload", "Get", "Open", "List", "Delete"}
	t.did("each call, with heads of answers that come at a byte a second, and a patience of %v for a stall and %v for all", hasty.Stall, hasty.Retry)
	fresh := t.source(1000)
	t.spread(len(calls), func(i int) {
		w := t.wired(ns, hasty)
		r := w.arm(&fault.Rule{Times: fault.Always, Fault: fault.SlowHead(1)})
		about := s
		if calls[i] == "Upload" {
			about = fresh
		}
		err := t.ending(calls[i], most("", hasty), func(ctx context.Context) error { return t.call(w, ctx, calls[i], about) })
		t.fired(r, "at "+calls[i])
		t.kind(err, core.ErrUnavailable)
	})
	t.wholeOr(t.open(ns), s, core.ErrNotFound)
}

// throttled answers 429 and 503, with the time that the agent has to wait: once, for
// ever, and longer than its patience.
func throttled(t *trial) {
	ns := t.place()
	direct := t.open(ns)
	s := t.stored(direct, 1000)
	var jobs []func()
	for _, status := range []int{429, 503} {
		up := t.source(1000)
		jobs = append(jobs,
			func() { t.waits(ns, anyRequest, status, func(w wired) error { return t.call(w, t.ctx, "Get", s) }) },
			func() { t.waits(ns, hasBody, status, func(w wired) error { return t.upload(t.ctx, w, up) }) })
	}
	for _, after := range []string{"1", "", "3600"} {
		fresh := t.source(1000)
		jobs = append(jobs, func() { t.givesUp(ns, after, "Get", s) }, func() { t.givesUp(ns, after, "Upload", fresh) })
	}
	t.did("calls of which a request is answered by 429 or 503 with Retry-After, once and, with a patience of %v, for ever", throttledFor)
	t.spread(len(jobs), func(i int) { jobs[i]() })
}

// waits demands that a call succeeds, and that the request which was throttled is
// not made again before the time that it was told.
func (t *trial) waits(ns Namespace, match func(fault.Request) bool, status int, call func(wired) error) {
	w := t.wired(ns, steady)
	r := w.arm(&fault.Rule{Match: match, Fault: fault.Answer(status, http.Header{"Retry-After": {"1"}}, "")})
	if err := call(w); err != nil {
		t.fail(fmt.Sprintf("a call of which a request is answered once by %d succeeds", status), "%v", err)
	}
	t.fired(r, "at a request")
	var hit fault.Request
	for _, q := range w.proxy.Counts().Requests {
		switch {
		case hit.Method == "" && match(q):
			hit = q
		case hit.Method == q.Method && hit.Target == q.Target:
			if gap := q.When.Sub(hit.When); gap < time.Second {
				t.fail(fmt.Sprintf("a request that %d answered with Retry-After: 1 is made again after a second", status), "after %v", gap.Round(100*time.Millisecond))
			}
			return
		}
	}
	t.inconclusive("wire: repeated", "the request that was throttled is made again", "another was made in its stead")
}

const throttledFor = 2 * time.Second

// givesUp demands that a call whose every request is throttled ends within its
// patience, after a few attempts, and says why.
func (t *trial) givesUp(ns Namespace, after, call string, s *source) {
	header := http.Header{}
	if after != "" {
		header.Set("Retry-After", after)
	}
	w := t.wired(ns, core.Patience{Stall: time.Minute, Retry: throttledFor})
	r := w.arm(&fault.Rule{Times: fault.Always, Fault: fault.Answer(503, header, "")})
	what := fmt.Sprintf("%s, throttled for ever with Retry-After: %q", call, after)
	err := t.ending(what, throttledFor, func(ctx context.Context) error { return t.call(w, ctx, call, s) })
	t.fired(r, "at "+call)
	t.kind(err, core.ErrThrottled, core.ErrUnavailable)
	const few = 20
	if n := len(w.proxy.Counts().Requests); n > few {
		t.fail(fmt.Sprintf("%s: at most %d requests in %v", what, few, throttledFor), "%d", n)
	}
	if after != "" && !saysWhen(err) {
		t.fail(what+": an error that says when to ask again", "%v", err)
	}
}

// saysWhen says whether an error, or one that it wraps, has the time that the place
// asked for.
func saysWhen(err error) bool {
	for e := (*core.Error)(nil); errors.As(err, &e); err = e.Err {
		if e.RetryAfter > 0 {
			return true
		}
	}
	return false
}
