package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/core"
)

// opaqueRuns are the cases on the wire that can be tried without knowing what an agent
// and its server say to each other: of that there are connections, and bytes on them.
func opaqueRuns() map[string]func(*trial) {
	return map[string]func(*trial){
		"F03": func(t *trial) { t.nobodyListens() },
		"G02": endsAnywhere,
		"G04": connectionsEnd,
		"G05": func(t *trial) { abandonedIn(t, anyRequest) },
		"J02": resetsAnywhere,
		"J03": answersLostAnywhere,
		"J04": stallsAnywhere,
		"J05": func(t *trial) { slowAliveIn(t, anyRequest, anyRequest) },
		"J06": slowGreetings,
		"J08": refusals,
		"K01": resumes,
		"Q02": opaqueSelf,
	}
}

// opaque says whether the suite knows nothing of the protocol.
func (w *Wire) opaque() bool { return w != nil && w.Opaque }

// A way is a direction of bytes.
type way func(fault.Counts) int64

func up(c fault.Counts) int64   { return c.Up }
func down(c fault.Counts) int64 { return c.Down }

// along are bytes of a connection at which something can happen to an errand: in its
// first bytes, where the two agree on how to talk, in its middle, and near its end.
func (t *trial) along(e errand, moved way) []int64 {
	each := t.moves(e, moved)
	return []int64{0, 50, each / 2, each * 3 / 4, each * 9 / 10}
}

// moves is how many bytes an errand moves on each of its connections.
func (t *trial) moves(e errand, moved way) int64 {
	w := t.wired(e.ns, steady)
	s := e.prepare()
	if err := e.do(w, s); err != nil {
		t.fail(e.what+" succeeds", "%v", err)
	}
	if e.after != nil {
		e.after(s, nil)
	}
	counts := w.proxy.Counts()
	each := moved(counts) / int64(max(1, counts.Opened))
	if each < 100 {
		t.inconclusive("wire: bytes", "bytes on connections", "%d on each of %d", each, counts.Opened)
	}
	return each
}

// struckAlong has something happen at bytes of the first connection of an errand, each
// time anew. Of several connections one may carry little, so most of it has to happen.
func (t *trial) struckAlong(e errand, at []int64, what func(int64) fault.Fault) {
	t.did("%s, with %v, and so at bytes %v", e.what, what(at[0]), at)
	sources := make([]*source, len(at))
	for i := range sources {
		sources[i] = e.prepare()
	}
	var fired atomic.Int32
	t.spread(len(at), func(i int) {
		w := t.wired(e.ns, steady)
		r := w.arm(&fault.Rule{Fault: what(at[i])})
		err := e.do(w, sources[i])
		if r.Fired() > 0 {
			fired.Add(1)
		}
		if err != nil {
			t.kind(err, core.ErrUnavailable)
		}
		if e.after != nil {
			e.after(sources[i], err)
		}
	})
	if n := int(fired.Load()); n < len(at)/2 {
		t.inconclusive("fault: "+what(at[0]).String(), fmt.Sprintf("most of it happens at %s", e.what), "%d of %d", n, len(at))
	}
	if e.end != nil {
		e.end()
	}
}

// resetsAnywhere breaks connections along the calls.
func resetsAnywhere(t *trial) {
	for _, e := range []errand{t.uploading(), t.listing(), t.downloading()} {
		t.struckAlong(e, t.along(e, up), fault.ResetUp)
		t.struckAlong(e, t.along(e, down), fault.ResetDown)
	}
}

// answersLostAnywhere breaks a connection before each of many bytes of what the server
// answers, so that most answers are lost in turn, when the server has acted.
func answersLostAnywhere(t *trial) {
	const steps = 16
	small := t.uploading()
	small.prepare = func() *source { return t.source(1000) }
	small.end = nil
	for _, e := range []errand{small, t.deleting()} {
		each := t.moves(e, down)
		var at []int64
		for i := range int64(steps) {
			at = append(at, each*i/steps)
		}
		t.struckAlong(e, at, fault.ResetDown)
	}
}

// opaqueSelf is proxySelf, where connections are all that the proxy sees.
func opaqueSelf(t *trial) {
	ns := t.place()
	w := t.wired(ns, steady)
	s := t.source(t.severalParts())
	t.did("upload, list, read and delete of %d bytes through a proxy without a fault", s.size)
	t.store(w, s)
	t.same(w, s)
	t.lists(w, s)
	counts := w.proxy.Counts()
	if counts.Opened == 0 || counts.Up < s.size || counts.Down < s.size {
		t.fail(fmt.Sprintf("at least %d bytes up and down, at the address that the agent was given", s.size),
			"%d connections with %d bytes up and %d down", counts.Opened, counts.Up, counts.Down)
	}
	never := w.arm(&fault.Rule{Match: func(fault.Request) bool { return false }, Fault: fault.Reset()})
	if err := w.Delete(t.ctx, s.draft.ID); err != nil || never.Fired() != 0 {
		t.fail("Delete succeeds, and a fault for nothing never happens", "%v; it happened %d times", err, never.Fired())
	}
	t.did("Get, with every connection refused by the proxy")
	refused := t.wired(ns, hasty)
	always := refused.arm(&fault.Rule{Times: fault.Always, Fault: fault.Refuse()})
	_, err := refused.Get(t.ctx, s.draft.ID)
	t.fired(always, "at a Get")
	t.kind(err, core.ErrUnavailable)
	t.absent(t.open(ns), s.draft.ID)
}

// nobodyListens is the part of wrongPlace that needs no answers.
func (t *trial) nobodyListens() {
	ns := t.place()
	stored := t.stored(t.open(ns), 1000)
	w := t.deaf(ns, core.Patience{Stall: time.Minute, Retry: time.Minute})
	t.did("each call, where nobody listens")
	t.spread(len(calls), func(i int) {
		err := t.ending(calls[i], 10*time.Second, func(ctx context.Context) error { return t.call(w, ctx, calls[i], t.about(calls[i], stored)) })
		t.kind(err, core.ErrUnavailable)
	})
	t.same(t.open(ns), stored)
}

// A blocked call is one on whose connections nothing moves from some byte on.
type blocked struct {
	call  string
	fault fault.Fault
	moves bool // whether it gets on before, on each connection anew
}

// share is what part of a call's bytes its first connection moves at least, however an
// agent spreads them over its connections: an eighth.
const share = 8

// blockedCalls are each call, blocked before the server answers at all, in the first
// bytes, and further on.
func (t *trial) blockedCalls(ns Namespace, stored *source) (all []blocked) {
	for _, call := range calls {
		e := errand{
			what: call, ns: ns, prepare: func() *source { return stored },
			do: func(w wired, s *source) error { return t.call(w, t.ctx, call, s) },
		}
		switch call {
		case "Upload":
			e.prepare = func() *source { return t.source(t.errandSize()) }
		case "Delete":
			e.prepare = func() *source { return t.stored(t.open(ns), 100) }
		}
		all = append(all, blocked{call, fault.Hold(), false}, blocked{call, fault.StallUp(0), false}, blocked{call, fault.StallDown(50), false})
		all = append(all, blocked{call, fault.StallDown(t.moves(e, down) / share), true})
		if call == "Upload" {
			all = append(all, blocked{call, fault.StallUp(t.moves(e, up) / share), true})
		}
	}
	return all
}

// endsAnywhere ends calls, by their context and by Close, where nothing moves.
func endsAnywhere(t *trial) {
	ns := t.place()
	stored := t.stored(t.open(ns), t.errandSize())
	all := t.blockedCalls(ns, stored)
	t.did("calls that block in %d places, ended by their context and by Close", len(all))
	sources := t.ofBlocked(slices.Concat(all, all), ns, stored)
	t.spread(len(sources), func(i int) {
		b := all[i%len(all)]
		t.endsThere(ns, deadEnd{where: b.fault.String(), call: b.call, fault: b.fault, match: anyRequest}, sources[i], i < len(all))
	})
	t.same(t.open(ns), stored)
}

// ofBlocked are what calls are about: an upload and a delete each of something of its
// own.
func (t *trial) ofBlocked(all []blocked, ns Namespace, stored *source) (sources []*source) {
	direct := t.open(ns)
	for _, b := range all {
		s := stored
		switch b.call {
		case "Upload":
			s = t.source(t.errandSize())
		case "Delete":
			s = t.stored(direct, 100)
		}
		sources = append(sources, s)
	}
	return sources
}

// stallsAnywhere has nothing move on connections: on all of them, and on the first one.
func stallsAnywhere(t *trial) {
	ns := t.place()
	direct := t.open(ns)
	stored := t.stored(direct, t.errandSize())
	places := t.blockedCalls(ns, stored)
	for _, times := range []int{fault.Always, 1} {
		all := places
		if times == fault.Always {
			all = slices.DeleteFunc(slices.Clone(all), func(b blocked) bool { return b.moves })
		}
		sources := t.ofBlocked(all, ns, stored)
		t.did("each call, stalled in %d places %s, with a patience of %v for a stall and %v for all", len(all), map[int]string{1: "once", fault.Always: "for ever"}[times], hasty.Stall, hasty.Retry)
		t.spread(len(all), func(i int) {
			b := all[i]
			t.stall(ns, stalled{b.call, b.fault, b.fault, anyRequest}, sources[i], times)
			t.wholeOr(direct, sources[i], core.ErrNotFound)
		})
	}
}

// slowGreetings has a server say what it says at a byte a second.
func slowGreetings(t *trial) {
	ns := t.place()
	s := t.stored(t.open(ns), 1000)
	t.did("each call, where all comes at a byte a second, with a patience of %v for a stall and %v for all", hasty.Stall, hasty.Retry)
	t.spread(len(calls), func(i int) {
		w := t.wired(ns, hasty)
		r := w.arm(&fault.Rule{Times: fault.Always, Fault: fault.SlowDown(1)})
		err := t.ending(calls[i], most("", hasty), func(ctx context.Context) error { return t.call(w, ctx, calls[i], t.about(calls[i], s)) })
		t.fired(r, "at "+calls[i])
		t.kind(err, core.ErrUnavailable)
	})
	t.wholeOr(t.open(ns), s, core.ErrNotFound)
}

// connectionsEnd counts connections while calls fail, are left early and are cut, and
// after Close.
func connectionsEnd(t *trial) {
	const rounds, sane = 30, 32
	ns := t.place()
	s := t.stored(t.open(ns), t.errandSize())
	w := t.wired(ns, core.Patience{Stall: steady.Stall, Retry: 1})
	t.did("%d times: uploads that fail, reads that are left early, lists that stop, connections that are reset and cut; then Close", rounds)
	faults := []fault.Fault{fault.ResetDown(0), fault.CutDown(100), fault.ResetUp(5000), fault.Refuse()}
	fired := 0
	for i := range rounds {
		bad := t.source(10_000)
		bad.failingAt(int64(i), errors.New("the source breaks"))
		_ = t.upload(t.ctx, w, bad) // C02 looks at the error
		t.leave(w, s)
		for range w.List(t.ctx) {
			break
		}
		hurt := t.wired(ns, core.Patience{Stall: steady.Stall, Retry: 1})
		r := hurt.arm(&fault.Rule{Times: fault.Always, Fault: faults[i%len(faults)]})
		for _, name := range []string{"Get", "Open", "List"} {
			_ = t.call(hurt, t.ctx, name, s) // J02 looks at the errors
		}
		fired += r.Fired()
		if n := max(w.proxy.Counts().Open, hurt.proxy.Counts().Open); n > sane {
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
