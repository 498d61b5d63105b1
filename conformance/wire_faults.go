package conformance

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/core"
)

const (
	clauseRetry = "Retry is how long a request that failed is tried again, from its first failure to its last attempt; then the call answers with what went wrong."
	clauseStall = "Stall ends a request on which no byte has moved for so long, which may then be tried again."
	clauseAll   = "An upload that is interrupted at any instant, by whatever means, leaves nothing that List, Get or Open shows."
	clauseBytes = "Bytes that come back altered, short or long are an error of kind ErrDamaged or ErrChanged, never a short success."
)

// Section J: what networks do.
func wireFaults() []Case {
	needs := []Means{MeansWire, MeansRaw}
	return []Case{
		{
			ID: "J01", Words: "k-th_request_fails", Level: Short, Needs: needs, run: kthFails, Clause: clauseRetry,
			Why: "one answer of a tired server in an hour of uploading failed the night's backup, or stored half of it",
		}, {
			ID: "J02", Words: "reset_sweep", Level: Short, Needs: needs, run: resets, Clause: clauseAll,
			Why: "a connection that broke in the middle was taken for the end of the data",
		}, {
			ID: "J03", Words: "response_lost", Level: Short, Needs: needs, run: answersLost,
			Clause: "An agent finds out whether its own commit took effect before it reports that it did not.",
			Why:    "the server had stored it; the agent stored it twice, or said that somebody else had",
		}, {
			ID: "J08", Words: "refuse_n_times", Level: Short, Needs: needs, run: refusals, Clause: clauseRetry,
			Why: "a server that is being restarted refuses for a second, and the backup of the day was lost for it",
		}, {
			ID: "J09", Words: "retry_body", Level: Short, Needs: needs, run: bodiesAgain, Clause: clauseRetry,
			Why: "the second attempt sent what the first had left of the body, and the rest was missing in the archive",
		}, {
			ID: "J10", Words: "cut_response", Level: Short, Needs: needs, run: cuts, Clause: clauseBytes,
			Why: "an answer that was cut became a file that was cut, and nobody was told",
		},
	}
}

// kthFails has each request answered by 500 once, with and without the server having
// acted. The agent tries again and succeeds.
func kthFails(t *trial) {
	failing := []fault.Fault{fault.Answer(500, nil, ""), fault.Instead(503, nil, "")}
	for _, e := range t.errands() {
		t.struck(e, anyRequest, failing)
	}
}

// errands are those of which each request in turn goes wrong.
func (t *trial) errands() []errand {
	return []errand{t.uploading(), t.listingOf(max(t.target.Limits.Page, 1) + 1), t.downloading(), t.deleting()}
}

// resets breaks connections: before a request, and at some bytes of each body.
func resets(t *trial) {
	half := t.middle()
	up := []fault.Fault{fault.ResetUp(0), fault.ResetUp(1 << 10), fault.ResetUp(half), fault.ResetUp(-1)}
	down := []fault.Fault{fault.ResetDown(0), fault.ResetDown(1 << 10), fault.ResetDown(half), fault.ResetDown(-1)}
	t.struck(t.uploading(), hasBody, up, core.ErrUnavailable)
	t.struck(t.downloading(), reads, down, core.ErrUnavailable)
	t.struck(t.listing(), t.target.Wire.Page, []fault.Fault{fault.ResetDown(0), fault.ResetDown(50)}, core.ErrUnavailable)
	for _, e := range t.errands() {
		t.struck(e, anyRequest, []fault.Fault{fault.Reset()}, core.ErrUnavailable)
	}
}

// answersLost throws the answer to each request away.
func answersLost(t *trial) {
	for _, e := range t.errands() {
		t.struck(e, anyRequest, []fault.Fault{fault.Lost()}, core.ErrUnavailable)
	}
}

// refusals resets the first connections, and then has nobody listen at all.
func refusals(t *trial) {
	e := t.uploading()
	for _, n := range []int{1, 3} {
		w, s := t.wired(e.ns, steady), e.prepare()
		r := w.arm(&fault.Rule{Times: n, Fault: fault.Refuse()})
		t.did("an upload, while the first %d connections are reset", n)
		err := e.do(w, s)
		t.fired(r, "at the first connection")
		if err != nil {
			t.kind(err, core.ErrUnavailable)
		}
		e.after(s, err)
	}
	t.nobody(e.ns)
}

// nobody makes each call while nobody listens at the server's address.
func (t *trial) nobody(ns Namespace) {
	patience := core.Patience{Stall: 2 * time.Second, Retry: time.Second}
	calls := []string{"Upload", "Get", "Open", "List", "Delete"}
	s := t.source(100)
	t.did("each call, while nobody listens at the address, with a patience of %v", patience.Retry)
	t.spread(len(calls), func(i int) {
		w := t.deaf(ns, patience)
		err := t.ending(calls[i], patience.Stall+patience.Retry, func(ctx context.Context) error { return t.call(w, ctx, calls[i], s) })
		t.kind(err, core.ErrUnavailable)
	})
	t.absent(t.open(ns), s.draft.ID)
}

// call makes one of everyCall's calls.
func (t *trial) call(a core.Agent, ctx context.Context, what string, s *source) error {
	switch what {
	case "Upload":
		return t.upload(ctx, a, s)
	case "Get":
		_, err := a.Get(ctx, s.draft.ID)
		return err
	case "Open":
		archive, err := a.Open(ctx, s.draft.ID)
		if err != nil {
			return err
		}
		return errors.Join(t.read(ctx, archive), archive.Close())
	case "List":
		for _, err := range a.List(ctx) {
			if err != nil {
				return err
			}
		}
		return nil
	case "Delete":
		return a.Delete(ctx, s.draft.ID)
	}
	panic("no such call: " + what)
}

// read reads an archive to its end.
func (t *trial) read(ctx context.Context, archive core.Archive) error {
	r, err := archive.Range(ctx, 0, -1)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// bodiesAgain has each request with a body fail when its body was read to its end,
// or nearly: it is sent again from its first byte.
func bodiesAgain(t *trial) {
	e := t.uploading()
	faults := []fault.Fault{
		fault.Answer(500, nil, ""), fault.Answer(503, http.Header{"Retry-After": {"0"}}, ""), fault.ResetUp(-1),
	}
	t.struck(e, hasBody, faults, core.ErrUnavailable, core.ErrThrottled)
}

// cuts ends answers before their last byte, in order.
func cuts(t *trial) {
	half := t.middle()
	t.struck(t.downloading(), reads, []fault.Fault{fault.CutDown(0), fault.CutDown(1), fault.CutDown(half), fault.CutDown(-1)}, core.ErrUnavailable, core.ErrDamaged)
	t.struck(t.listing(), reads, []fault.Fault{fault.CutDown(0), fault.CutDown(50)}, core.ErrUnavailable, core.ErrDamaged)
}
