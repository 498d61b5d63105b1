package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// Section H: several at once. The race detector is half of these cases.
func concurrency() []Case {
	const anyone = "All methods may be called from several goroutines at once, and several processes may use one place at the same time."
	const oneWins = "Of two uploads of one id one wins and the bytes never mix; the other succeeds when its size and SHA-256 are the same, else it answers ErrExists."
	return []Case{
		{
			ID: "H01", Words: "32_uploads", Level: Short, run: manyUploads, Clause: anyone,
			Why: "buffers that two uploads share put the bytes of one into the other",
		}, {
			ID: "H02", Words: "same_id_race", Level: Short, run: sameIDRace, Clause: oneWins,
			Why: "two hosts with one identity wrote one archive together",
		}, {
			ID: "H03", Words: "read_against_delete", Level: Short, run: readAgainstDelete,
			Clause: "when that is replaced or removed underneath, Range answers ErrChanged or ErrNotFound, never bytes of another version.",
			Why:    "a restore that runs into a prune has to fail or be whole",
		}, {
			ID: "H04", Words: "create_if_absent", Level: Short, run: createIfAbsent, Clause: oneWins,
			Why: "who looks first and writes then lets two of them win, and one of them is told a lie",
		}, {
			ID: "H05", Words: "many_agents", Level: Short, run: manyAgents, Clause: anyone,
			Why: "what one process remembers of a place is wrong as soon as another writes there",
		},
	}
}

func manyUploads(t *trial) {
	a := t.open(t.place())
	const n = 32
	all := make([]*source, n)
	for i := range all {
		all[i] = t.source(int64(20_000 + i*3000))
	}
	t.did("%d uploads at once over one connection, then %d reads", n, n)
	t.parallel(n, func(i int) {
		if err := t.upload(t.ctx, a, all[i]); err != nil {
			t.fail("every upload succeeds", "%v", err)
		}
	})
	t.parallel(n, func(i int) { t.sameQuietly(a, all[i]) })
	t.lists(a, all...)
}

// sameQuietly is same without a word in the report, for many at once.
func (t *trial) sameQuietly(a core.Agent, s *source) {
	got, err := t.whole(a, s.draft.ID)
	if err != nil {
		t.fail("every archive is read to its end", "%v", err)
	}
	if got.size != s.size || got.sum != s.seal().SHA256 {
		t.fail("the bytes that were uploaded, of each", "others and no error")
	}
}

// race uploads sources at once, each over a connection of its own, all held at
// their last byte until every one is there.
func (t *trial) race(ns Namespace, all []*source) []error {
	errs, there := t.meet(ns, all, obeyWithin+busy)
	if there < len(all) {
		t.inconclusive("race", fmt.Sprintf("%d uploads at their last byte at once", len(all)), "%d", there)
	}
	return errs
}

// meet is race for agents that may let one upload wait for another: it lets go
// after patience, and returns how many had come by then.
func (t *trial) meet(ns Namespace, all []*source, patience time.Duration) (errs []error, there int) {
	errs = make([]error, len(all))
	agents := make([]core.Agent, len(all))
	var come atomic.Int64
	begin, late := make(chan struct{}), make(chan struct{})
	timer := time.AfterFunc(patience, func() { close(late) })
	defer timer.Stop()
	for i, s := range all {
		agents[i] = t.open(ns)
		arrive := sync.OnceFunc(func() {
			if come.Add(1) == int64(len(all)) {
				close(begin)
			}
		})
		s.before = func(ctx context.Context, end int64) error {
			if end < s.size {
				return nil
			}
			select {
			case <-late: // who comes now has not met the others
			default:
				arrive()
			}
			select {
			case <-begin:
			case <-late:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			return nil
		}
	}
	t.parallel(len(all), func(i int) { errs[i] = t.upload(t.ctx, agents[i], all[i]) })
	return errs, int(come.Load())
}

func sameIDRace(t *trial) {
	ns := t.place()
	for round := range 10 {
		s := t.source(200_000)
		all := []*source{s, sourceOf(s.draft.ID, s.draft.Created, s.content), sourceOf(s.draft.ID, s.draft.Created, s.content)}
		t.did("round %d: three uploads of the same bytes under one id", round)
		for _, err := range t.race(ns, all) {
			if err != nil {
				t.fail("each succeeds", "%v", err)
			}
		}
		t.same(t.open(ns), s)
	}
	for round := range 4 {
		t.grownRace(t.place(), round)
	}
}

// grownRace interrupts an upload, and then uploads its bytes, and those with more
// behind them, at once: both could go on with the parts that are there.
func (t *trial) grownRace(ns Namespace, round int) {
	part := t.target.Limits.PartSize
	if t.target.Short && part > largePart {
		part = 100_000
	}
	more := []int64{part / 4, part + 1}[round%2]
	first := t.source(3*part + part/2)
	reached, release := first.holdAt(3 * part)
	defer release()
	t.did("round %d: an upload of %d bytes is interrupted; then the same and one with %d bytes more under one id, at once", round, first.size, more)
	t.cancelled(t.open(ns), first, reached)
	again := sourceOf(first.draft.ID, first.draft.Created, first.content)
	grown := sourceOf(first.draft.ID, first.draft.Created, content{first.seed, first.size + more})
	errs, _ := t.meet(ns, []*source{again, grown}, time.Second)
	// The loser may see that its parts were replaced before it sees who won.
	t.oneWinner(ns, []*source{again, grown}, errs, core.ErrExists, core.ErrChanged)
}

// oneWinner demands that one upload of different bytes under one id succeeded, and
// that it is what is stored. The others end with an error of a kind of loses.
func (t *trial) oneWinner(ns Namespace, all []*source, errs []error, loses ...core.ErrorKind) {
	a, winners := t.open(ns), 0
	for i, err := range errs {
		if err != nil {
			t.kind(err, loses...)
			continue
		}
		winners++
		t.same(a, all[i])
	}
	if winners != 1 {
		t.fail("exactly one succeeds", "%d", winners)
	}
}

func createIfAbsent(t *trial) {
	ns := t.place()
	for round := range 5 {
		first := t.source(50_000)
		all := make([]*source, 16)
		for i := range all {
			all[i] = sourceOf(first.draft.ID, first.draft.Created, content{first.seed + uint64(i), 50_000})
		}
		t.did("round %d: 16 uploads of different bytes under one id", round)
		t.oneWinner(ns, all, t.race(ns, all), core.ErrExists)
	}
}

func readAgainstDelete(t *trial) {
	ns := t.place()
	a, other := t.open(ns), t.open(ns)
	for round := range 10 {
		s := t.stored(a, 500_000)
		t.did("round %d: four read it while it is deleted", round)
		var deleted atomic.Bool
		t.parallel(5, func(i int) {
			if i == 0 {
				if err := other.Delete(t.ctx, s.draft.ID); err != nil {
					t.fail("Delete succeeds", "%v", err)
				}
				deleted.Store(true)
				return
			}
			for !deleted.Load() {
				t.wholeOrGone(a, s)
			}
		})
		t.absent(a, s.draft.ID)
	}
}

func (t *trial) wholeOrGone(a core.Agent, s *source) {
	got, err := t.whole(a, s.draft.ID)
	switch {
	case errors.Is(err, core.ErrNotFound), errors.Is(err, core.ErrChanged):
	case err != nil:
		t.fail("whole, or ErrNotFound, or ErrChanged", "%v", err)
	case got.size != s.size || got.sum != s.seal().SHA256:
		t.fail("whole, or an error", "%d of %d bytes and no error", got.size, s.size)
	}
}

func manyAgents(t *trial) {
	ns := t.place()
	const n, each = 5, 4
	agents, all := make([]core.Agent, n), make([]*source, n*each)
	for i := range agents {
		agents[i] = t.open(ns)
		t.lists(agents[i])
	}
	for i := range all {
		all[i] = t.source(int64(1000 + i))
	}
	t.did("%d agents on one place upload %d backups each; then each lists and reads all", n, each)
	t.parallel(n, func(i int) {
		for _, s := range all[i*each : (i+1)*each] {
			if err := t.upload(t.ctx, agents[i], s); err != nil {
				t.fail("every upload succeeds", "%v", err)
			}
		}
	})
	for i, a := range agents {
		t.did("agent %d of %d", i+1, n)
		t.lists(a, all...)
		t.sameQuietly(a, all[len(all)-1-i])
	}
}
