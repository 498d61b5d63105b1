package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/core"
)

// Sections G and I, on the wire: who lets go, and who asks little.
func wireLeaks() []Case {
	needs := []Means{MeansWire}
	return []Case{
		{
			ID: "G02", Words: "cancel_anywhere", Level: Short, Needs: needs, run: cancelAnywhere,
			Clause: "A call whose context has ended returns context.Cause within two seconds even on a dead connection, and one that is called with an ended context asks the place nothing.",
			Why:    "a run that was stopped hung on a dead connection until it was killed, and the posts of its hooks with it",
		}, {
			ID: "G04", Words: "sockets", Level: Short, Needs: needs, run: sockets,
			Clause: "Close ends running calls, which answer ErrClosed, and connections.",
			Why:    "each failure left a connection open, until the server took no more from this host",
		}, {
			ID: "G05", Words: "abandoned_reader", Level: Short, Needs: needs, run: abandoned,
			Clause: "The caller closes the reader; closing it early does not fetch the rest.",
			Why:    "one file was restored from the start of an archive, and the provider billed all of it",
		}, {
			ID: "I05", Words: "request_budget", Level: Short, Needs: []Means{MeansWire, MeansRaw}, run: requestBudget,
			Clause: "Requests are few: a list makes one for each backup and those for its pages, any other call a handful and those for its parts.",
			Why:    "requests are billed and throttled, and a list that asks several times for each entry takes minutes",
		},
	}
}

// A dead end is where a call blocks for ever.
type deadEnd struct {
	where string
	call  string
	fault fault.Fault
	match func(fault.Request) bool
	tls   bool
}

func (t *trial) deadEnds() []deadEnd {
	half := t.middle()
	all := []deadEnd{
		{"in the body of a request", "Upload", fault.StallUp(half), hasBody, false},
		{"in the body of an answer", "Open", fault.StallDown(half), reads, false},
		{"in a page", "List", fault.StallDown(10), t.target.Wire.Page, false},
		{"before it tries again", "Get", fault.Answer(503, map[string][]string{"Retry-After": {"5"}}, ""), anyRequest, false},
	}
	for _, call := range []string{"Upload", "Open", "List", "Delete"} {
		all = append(all,
			deadEnd{"before the connection answers", call, fault.Hold(), anyRequest, false},
			deadEnd{"in the TLS handshake", call, fault.Hold(), anyRequest, true},
			deadEnd{"before an answer", call, fault.StallAnswer(), anyRequest, false})
	}
	return all
}

// cancelAnywhere ends calls, by their context and by Close, where nothing moves.
func cancelAnywhere(t *trial) {
	ns := t.place()
	stored := t.stored(t.open(ns), t.errandSize())
	ends := t.deadEnds()
	sources := make([]*source, 2*len(ends))
	for i := range sources {
		if sources[i] = stored; ends[i/2].call == "Upload" {
			sources[i] = t.source(t.errandSize())
		}
	}
	t.did("calls that block in %d places, ended by their context and by Close", len(ends))
	t.spread(len(sources), func(i int) { t.endsThere(ns, ends[i/2], sources[i], i%2 == 1) })
	t.wholeOr(t.open(ns), stored, core.ErrNotFound) // an ended delete may have been done
}

func (t *trial) endsThere(ns Namespace, d deadEnd, s *source, closed bool) {
	w := t.behind(ns, d.tls)
	r := w.arm(&fault.Rule{Match: d.match, Times: fault.Always, Fault: d.fault})
	cause := errors.New("the suite ended it")
	ctx, cancel := context.WithCancelCause(t.ctx)
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() { ended <- t.call(w, ctx, d.call, s) }()
	t.happens(r, fmt.Sprintf("%s, %s", d.call, d.where), ended)
	by, want := "context", cause
	if closed {
		by, want = "Close", error(core.ErrClosed)
		go func() { _ = w.Close() }() // G06 looks at its error
	} else {
		cancel(cause)
	}
	what := fmt.Sprintf("%s that blocks %s, ended by %s", d.call, d.where, by)
	timer := time.NewTimer(obeyWithin + busy)
	defer timer.Stop()
	select {
	case err := <-ended:
		if !errors.Is(err, want) {
			t.fail(fmt.Sprintf("%s, answers: %v", what, want), "%v", err)
		}
	case <-timer.C:
		t.fail(fmt.Sprintf("%s, returns within %v", what, obeyWithin), "it is still running after %v", obeyWithin+busy)
	}
}

// behind opens an agent behind a proxy, by HTTPS where it has to.
func (t *trial) behind(ns Namespace, tls bool) wired {
	if !tls {
		return t.wired(ns, core.Patience{})
	}
	id, err := fault.NewIdentity(fault.Sound, time.Now())
	t.ok(err, "a certificate")
	p := t.proxied(fault.Options{TLS: id.TLS})
	a, err := t.target.Wire.OpenTLS(t.ctx, ns, t.wiredEnv(core.Patience{}), p.Addr(), id.CA)
	return wired{t.opened(a, err), p}
}

// happens waits for a fault, which a call must meet before it ends.
func (t *trial) happens(r *fault.Rule, where string, ended <-chan error) {
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	select {
	case <-r.Happened():
		return
	case err := <-ended:
		t.inconclusive("fault: "+r.Fault.String(), r.Fault.String()+" happens to "+where, "it ended before: %v", err)
	case <-timer.C:
		t.inconclusive("fault: "+r.Fault.String(), r.Fault.String()+" happens to "+where, "it did not")
	}
}

// sockets counts connections while calls fail, are cancelled and are left early, and
// after Close.
func sockets(t *trial) {
	const rounds, sane = 30, 32
	ns := t.place()
	s := t.stored(t.open(ns), t.errandSize())
	t.plant(ns, t.open(ns), 2*t.target.Limits.Page)
	w := t.wired(ns, core.Patience{Stall: 10 * time.Second, Retry: time.Millisecond})
	t.did("%d times: uploads that fail, reads that are left early, lists that stop, answers that are errors, late and cut; then Close", rounds)
	faults := []fault.Fault{fault.Answer(500, nil, "no"), fault.Answer(403, nil, "no"), fault.CutDown(1), fault.ResetDown(1), fault.Instead(503, nil, "no")}
	fired := 0
	for i := range rounds {
		bad := t.source(10_000)
		bad.failingAt(int64(i), errors.New("the source breaks"))
		_ = t.upload(t.ctx, w, bad) // C02 looks at the error
		t.leave(w, s)
		for range w.List(t.ctx) {
			break
		}
		r := w.arm(&fault.Rule{Times: fault.Always, Fault: faults[i%len(faults)]})
		for _, name := range []string{"Get", "Open", "List"} {
			_ = t.call(w, t.ctx, name, s) // J01 looks at the errors
		}
		fired += r.Fired()
		w.proxy.Arm()
		if n := w.proxy.Counts().Open; n > sane {
			t.fail(fmt.Sprintf("a bounded pool of connections, of at most %d", sane), "%d are open in round %d", n, i)
		}
	}
	if fired == 0 {
		t.inconclusive("fault: errors", "faults that happen", "none did")
	}
	t.closeAgents()
	t.eventually("no connection of a closed agent is open", func() (bool, string) {
		n := w.proxy.Counts().Open
		return n == 0, fmt.Sprintf("%d of %d", n, w.proxy.Counts().Opened)
	})
}

// leave reads the first bytes of an archive and closes it.
func (t *trial) leave(a core.Agent, s *source) {
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
	t.within("Close of a range in the middle", func() { t.close(r, "Close of a range") })
	t.close(archive, "Archive.Close")
}

// eventually waits until something is so, as long as a call may take that obeys.
func (t *trial) eventually(what string, is func() (bool, string)) {
	end := time.NewTimer(obeyWithin + busy)
	defer end.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, saw := is()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			t.fail(what, "after %v: %s", obeyWithin+busy, saw)
		}
	}
}

// abandoned leaves reads at their first bytes. What comes of the rest is counted
// until nothing comes any more.
func abandoned(t *trial) { abandonedIn(t, reads) }

// abandonedIn is abandoned, where match knows the requests that read.
func abandonedIn(t *trial, match func(fault.Request) bool) {
	const rate = 8 << 20
	ns := t.place()
	s := t.stored(t.open(ns), max(12<<20, 3*t.target.Limits.PartSize))
	for range 3 {
		w := t.wired(ns, steady)
		r := w.arm(&fault.Rule{Match: match, Times: fault.Always, Fault: fault.SlowDown(rate)})
		before := w.proxy.Counts().Down
		t.did("a read of %d bytes is left at its first", s.size)
		t.leave(w, s)
		t.fired(r, "at a read")
		last, still := w.proxy.Counts().Down, 0
		for still < 20 && last-before < s.size {
			timer := time.NewTimer(10 * time.Millisecond)
			<-timer.C
			if now := w.proxy.Counts().Down; now != last {
				last, still = now, 0
			} else {
				still++
			}
		}
		if got := last - before; got > s.size/2 {
			t.fail("the rest of an archive that is left is not fetched", "%d of %d bytes", got, s.size)
		}
	}
	t.same(t.open(ns), s)
}

// requestBudget counts the requests of calls on which nothing fails.
func requestBudget(t *trial) {
	const handful = 10
	ns := t.place()
	w := t.wired(ns, steady)
	counted := func(what string, most int, call func()) {
		before := len(w.proxy.Counts().Requests)
		call()
		if n := len(w.proxy.Counts().Requests) - before; n > most {
			t.fail(fmt.Sprintf("%s makes at most %d requests", what, most), "%d", n)
		} else if n == 0 {
			t.inconclusive("wire: requests", what+" makes requests", "none")
		}
	}
	s := t.source(1000)
	t.did("calls for one small backup")
	counted("an upload of a small archive", handful, func() { t.store(w, s) })
	counted("a read of a small archive", handful, func() { t.same(w, s) })
	counted("a Get", handful/2, func() { t.get(w, s.draft.ID) })
	counted("a Delete", handful, func() {
		if err := w.Delete(t.ctx, s.draft.ID); err != nil {
			t.fail("Delete succeeds", "%v", err)
		}
	})
	page := max(t.target.Limits.Page, 7)
	n := 3 * page
	all := t.plant(ns, t.open(ns), n)
	t.did("a list of %d, in pages of %d", n, page)
	// Pages of metadata and of archives, each perhaps with an empty one at its end.
	counted(fmt.Sprintf("a list of %d", n), n+2*(n/page+1)+handful/2, func() { t.lists(w, all...) })
}
