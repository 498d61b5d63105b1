package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/core"
)

// Sections E, F and H on the wire: what answers mean.
func wireAnswers() []Case {
	const (
		complete = "List is complete or says so."
		kinds    = "They answer errors.Is with one of the kinds of this package, name agent, operation and id, keep the provider's code and request id, wrap their cause, and hold no secret."
		giveUp   = "An agent to which its place has never answered, or has not since a call was given up, gives up after ten seconds at most."
		anyone   = "All methods may be called from several goroutines at once, and several processes may use one place at the same time."
	)
	wire, answers := []Means{MeansWire, MeansRaw}, []Means{MeansWire, MeansRaw, MeansAnswers}
	return []Case{
		{
			ID: "E06", Words: "bad_token", Level: Short, Needs: wire, run: badTokens, Clause: complete,
			Why: "a page that says that there is more and not where ended the list, or began it again, for ever",
		}, {
			ID: "E07", Words: "empty_page_and_token", Level: Short, Needs: wire, run: emptyPages, Clause: complete,
			Why: "providers send pages without an entry in the middle; who stops there restores last year's backup",
		}, {
			ID: "F03", Words: "wrong_creds,_host_or_bucket", Level: Core, Needs: answers, run: wrongPlace, Clause: giveUp,
			Why: "a wrong key was tried all night, and reported in the morning as a network that is down",
		}, {
			ID: "F06", Words: "class_table", Level: Short, Needs: answers, run: classTable, Clause: kinds,
			Why: "an error of the wrong kind is tried for ever, or not again, or taken for a place without backups",
		}, {
			ID: "F07", Words: "200_with_error_body", Level: Short, Needs: append(answers, MeansLateError), run: lateErrors, Clause: kinds,
			Why: "a commit that fails after its status was sent looks like success to who does not read on",
		}, {
			ID: "F09", Words: "clock", Level: Short, Needs: append(answers, MeansClock), run: wrongClock, Clause: kinds,
			Why: "a clock that is wrong does not become right by asking again; whoever owns it has to be told",
		}, {
			ID: "H06", Words: "one_connection", Level: Short, Needs: wire, run: oneConnection, Clause: anyone,
			Why: "who holds a connection while waiting for another waits for ever as soon as they are few",
		},
	}
}

// badTokens makes each page in turn, and then each from there on, one that cannot be
// gone on from.
func badTokens(t *trial) {
	cut, repeated := fault.Rewrite(t.target.Wire.BadPages[CutPage]), fault.Rewrite(t.target.Wire.BadPages[RepeatedPage])
	t.struck(t.listing(), t.target.Wire.Page, []fault.Fault{cut, repeated}, core.ErrUnavailable, core.ErrDamaged, core.ErrUnsupported)
	ns := t.place()
	all := t.plant(ns, nil, 3*t.target.Limits.Page+1)
	bad := []fault.Fault{cut, repeated}
	t.did("a list of %d, of which every page from the first, second or third on has a bad token", len(all))
	t.spread(3*len(bad), func(i int) {
		w := t.wired(ns, hasty)
		r := w.arm(&fault.Rule{Match: t.target.Wire.Page, Skip: i % 3, Times: fault.Always, Fault: bad[i/3]})
		got := t.endingList(w, len(all))
		t.fired(r, "at a page")
		t.saysSo(got, all)
	})
}

// endingList is a list that must end, and have no more entries than there are.
func (t *trial) endingList(w wired, entries int) (all []entry) {
	_ = t.ending("a list", most("List", hasty), func(ctx context.Context) error {
		for b, err := range w.List(ctx) {
			if all = append(all, entry{b, err}); len(all) > entries+1 {
				break
			}
		}
		return nil
	})
	if len(all) > entries+1 {
		t.fail(fmt.Sprintf("at most %d entries, and an error", entries), "%d, and it goes on", len(all))
	}
	return all
}

// emptyPages has a page come without entries, and with the token of the next one.
func emptyPages(t *trial) {
	ns := t.place()
	all := t.plant(ns, nil, 3*t.target.Limits.Page+1)
	for k := range 3 { // not the last
		w := t.wired(ns, steady)
		r := w.arm(&fault.Rule{Match: t.target.Wire.Page, Skip: k, Fault: fault.Rewrite(t.target.Wire.BadPages[EmptyPage])})
		t.did("a list of %d, of which page %d has no entries, and a token", len(all), k)
		got := t.entries(w)
		t.fired(r, "at a page")
		t.goesOn(got, all)
	}
}

// goesOn demands that a list has all, but for what stood in a page that the proxy
// emptied. It is for the target whether that comes with the next one.
func (t *trial) goesOn(got []entry, all []*source) {
	good, last := map[core.ID]bool{}, all[len(all)-1].draft.ID
	for _, e := range got {
		if e.err != nil && e.ID == "" {
			t.fail("a list that goes on after an empty page", "%v", e.err)
		}
		good[e.ID] = e.err == nil
	}
	n := 0
	for _, s := range all {
		if good[s.draft.ID] {
			n++
		}
	}
	if least := len(all) - t.target.Limits.Page; n < least || !good[last] {
		t.fail(fmt.Sprintf("at least %d entries, among them the last", least), "%d, the last among them: %v", n, good[last])
	}
}

// calls are all that an agent is asked for, by name. See trial.call.
var calls = []string{"List", "Get", "Open", "Upload", "Delete"}

// ask makes one call, all of whose requests get one answer but those for a head,
// whose answer would have no body. It returns how many were answered so, and the
// error, which is of the answer's kind.
func (t *trial) ask(ns Namespace, call string, s *source, patience core.Patience, within time.Duration, a Answer) (int, error) {
	w := t.wired(ns, patience)
	r := w.arm(&fault.Rule{
		Match: func(q fault.Request) bool { return q.Method != http.MethodHead && a.to(q) },
		Times: fault.Always, Fault: fault.Answer(a.Status, a.Header, a.Body),
	})
	what := fmt.Sprintf("%s, answered by %s", call, a)
	err := t.ending(what, within, func(ctx context.Context) error { return t.call(w, ctx, call, s) })
	t.fired(r, "at "+call)
	if err == nil {
		t.fail(what+": an error", "none")
	}
	if got := core.KindOf(err); got != a.Kind {
		t.fail(fmt.Sprintf("%s: an error of kind %q", what, a.Kind), "%q: %v", got, err)
	}
	return r.Fired(), err
}

// wrongPlace is told that its credentials, or its bucket, are wrong, and asks where
// nobody listens.
func wrongPlace(t *trial) {
	ns := t.place()
	stored := t.stored(t.open(ns), 1000)
	patient := core.Patience{Stall: time.Minute, Retry: time.Minute}
	wrong := t.answers(core.ErrUnauthenticated, core.ErrNoPlace)
	t.did("each call, answered by %v, with a patience of a minute", wrong)
	t.spread(len(wrong)*len(calls), func(i int) {
		a, call := wrong[i/len(calls)], calls[i%len(calls)]
		if a.Kind == core.ErrNoPlace && (call == "Upload" || call == "Delete") { // who writes may make the place
			return
		}
		_, _ = t.ask(ns, call, t.about(call, stored), patient, 2*time.Second, a) // it looks at the kind
	})
	w := t.deaf(ns, patient)
	t.did("each call, where nobody listens")
	t.spread(len(calls), func(i int) {
		err := t.ending(calls[i], 10*time.Second, func(ctx context.Context) error { return t.call(w, ctx, calls[i], t.about(calls[i], stored)) })
		t.kind(err, core.ErrUnavailable)
	})
	t.same(t.open(ns), stored)
}

// about is what a call is about: an upload is of something new.
func (t *trial) about(call string, stored *source) *source {
	if call == "Upload" {
		return t.source(1000)
	}
	return stored
}

// answers are those of the target with one of some kinds.
func (t *trial) answers(kinds ...core.ErrorKind) (all []Answer) {
	for _, kind := range kinds {
		for _, a := range t.target.Wire.Answers {
			if a.Kind == kind && !a.late() {
				all = append(all, a)
			}
		}
		if len(all) == 0 {
			t.inconclusive("wire: answers", fmt.Sprintf("an answer of the server of kind %q", kind), "none")
		}
	}
	return all
}

// classTable gives each answer that the target knows, and those that every HTTP
// server has, to a list: for ever and once.
func classTable(t *trial) {
	ns := t.place()
	stored := t.stored(t.open(ns), 1000)
	var all []Answer
	for _, a := range t.target.Wire.Answers {
		if !a.late() {
			all = append(all, a)
		}
	}
	for _, status := range []int{500, 502, 503, 504} { // what stands before a server answers so for it
		all = append(all, Answer{Kind: core.ErrUnavailable, Status: status, Body: "<html>no server here</html>"})
	}
	t.did("a list, answered by each of %v, for ever and once", all)
	t.spread(len(all), func(i int) {
		a := all[i]
		asked, err := t.ask(ns, "List", stored, hasty, most("List", hasty), a)
		t.tells(a, err)
		switch again := a.Kind.Temporary(); {
		case again && asked < 2:
			t.fail(fmt.Sprintf("what is answered by %s is tried again", a), "one request in %v", hasty.Retry)
		case !again && asked > 1:
			t.fail(fmt.Sprintf("what is answered by %s is not tried again", a), "%d requests", asked)
		case again:
			w := t.wired(ns, steady)
			r := w.arm(&fault.Rule{Match: t.target.Wire.Page, Fault: fault.Answer(a.Status, a.Header, a.Body)})
			t.listsIDs(w, []core.ID{stored.draft.ID})
			t.fired(r, "at a page")
		}
	})
	t.same(t.open(ns), stored)
}

// tells demands that an error keeps what the answer said of itself.
func (t *trial) tells(a Answer, err error) {
	e := (*core.Error)(nil)
	if !errors.As(err, &e) {
		t.fail(fmt.Sprintf("%s: a *core.Error", a), "%T: %v", err, err)
	}
	if a.Code != "" && e.Code != a.Code || a.RequestID != "" && e.RequestID != a.RequestID {
		t.fail(fmt.Sprintf("%s: code %q and request id %q", a, a.Code, a.RequestID), "%q and %q", e.Code, e.RequestID)
	}
}

// lateErrors answers with success and an error behind it, before and after the
// server acted.
func lateErrors(t *trial) {
	for _, a := range t.target.Wire.Answers {
		if !a.late() {
			continue
		}
		t.struck(t.uploading(), a.to, []fault.Fault{fault.Answer(a.Status, a.Header, a.Body), fault.Instead(a.Status, a.Header, a.Body)}, a.Kind)
		ns := t.place()
		s := t.source(t.severalParts())
		t.did("an upload, of which %s is the answer for ever", a)
		_, err := t.ask(ns, "Upload", s, hasty, most("Upload", hasty), a)
		t.tells(a, err)
		t.absent(t.open(ns), s.draft.ID)
	}
}

// wrongClock is told that its clock is wrong.
func wrongClock(t *trial) {
	ns := t.place()
	stored := t.stored(t.open(ns), 1000)
	all := t.answers(core.ErrClock)
	t.did("each call, answered by %v, with a patience of %v", all, steady.Retry)
	t.spread(len(all)*len(calls), func(i int) {
		a, call := all[i/len(calls)], calls[i%len(calls)]
		asked, _ := t.ask(ns, call, t.about(call, stored), steady, 2*time.Second, a)
		const few = 3 // who sets its clock by the answer may ask again
		if asked > few {
			t.fail(fmt.Sprintf("%s: what is answered by %s is not tried for ever", call, a), "%d requests", asked)
		}
	})
	t.same(t.open(ns), stored)
}

// oneConnection gives an agent a transport with one connection, and has it upload,
// list and download at once.
func oneConnection(t *trial) {
	ns := t.place()
	stored, fresh := t.stored(t.open(ns), t.severalParts()), t.source(t.severalParts())
	one := &counted{Transport: &http.Transport{MaxConnsPerHost: 1, DisableCompression: true}}
	t.mu.Lock()
	t.after = append(t.after, func() error { one.CloseIdleConnections(); return nil })
	t.mu.Unlock()
	env := t.wiredEnv(steady)
	env.Transport = one
	a := t.opened(t.target.Wire.Open(t.ctx, ns, env, t.proxied(fault.Options{}).Addr()))
	type job struct {
		what string
		do   func(ctx context.Context) error
	}
	jobs := []job{
		{"a list, and a Get of what it has", func(ctx context.Context) error { return t.listAndGet(ctx, a) }},
		{"an upload", func(ctx context.Context) error { return t.upload(ctx, a, fresh) }},
		{"a read", func(ctx context.Context) error { return t.call(a, ctx, "Open", stored) }},
	}
	jobs = append(jobs, jobs...) // each twice
	t.did("uploads, lists and reads at once, with one connection for all")
	t.parallel(len(jobs), func(i int) {
		if err := t.ending(jobs[i].what, 6*time.Second, jobs[i].do); err != nil {
			t.fail("each succeeds", "%s: %v", jobs[i].what, err)
		}
	})
	if one.requests.Load() == 0 {
		t.inconclusive("wire: transport", "an agent that uses Env.Transport", "it made no request by it")
	}
	t.same(a, fresh)
}

func (t *trial) listAndGet(ctx context.Context, a core.Agent) error {
	for b, err := range a.List(ctx) {
		if err != nil {
			return err
		}
		if _, err := a.Get(ctx, b.ID); err != nil {
			return err
		}
	}
	return nil
}

// A counted transport counts its requests.
type counted struct {
	*http.Transport
	requests atomic.Int64
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.requests.Add(1)
	return c.Transport.RoundTrip(r)
}
