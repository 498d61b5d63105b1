package conformance

import (
	"errors"
	"fmt"

	"github.com/offsite-backup/offsite/core"
)

// Section A: what every use of an agent rests on.
func basics() []Case {
	return []Case{
		{
			ID: "A01", Words: "empty", Level: Short, run: empty,
			Clause: "List is complete or says so.",
			Why:    "a first backup must not fail because nothing is there, and an error must never look like nothing",
		}, {
			ID: "A02", Words: "sizes", Level: Short, run: sizes,
			Clause: "It returns nil when the backup is stored and read back as such, or was there before with the same size and SHA-256",
			Why:    "archives were cut at part and buffer sizes, and the one byte too few was found at the restore",
		}, {
			ID: "A04", Words: "read_your_write", Level: Short, run: readYourWrite,
			Clause: "A backup exists at an agent when, and only when, its metadata document is there.",
			Why:    "a second host that does not see a backup uploads it again, or prunes by an old list",
		}, {
			ID: "A05", Words: "same_id_twice", Level: Short, run: sameIDTwice,
			Clause: "Of two uploads of one id one wins and the bytes never mix; the other succeeds when its size and SHA-256 are the same, else it answers ErrExists.",
			Why:    "a retry that appends or replaces destroys the backup that was good",
		}, {
			ID: "A06", Words: "one_truth", Level: Short, run: oneTruth,
			Clause: "Get returns the metadata of one backup as List does, or ErrNotFound.",
			Why:    "retention by a size or time that only one of the calls tells deletes the wrong backup",
		}, {
			ID: "A07", Words: "delete", Level: Short, run: deletes,
			Clause: "Deleting what is absent answers ErrNotFound",
			Why:    "a backup that is only hidden costs money for ever, and one that comes back was deleted for a reason",
		}, {
			ID: "A08", Words: "close", Level: Short, run: closes,
			Clause: "Closing twice is fine. Later calls answer ErrClosed.",
			Why:    "programs close on every way out; a panic there hides the error that was the reason",
		},
	}
}

func empty(t *trial) {
	a := t.open(t.place())
	t.did("list of a fresh place")
	t.lists(a)
	if a.Name() != agentName {
		t.fail(fmt.Sprintf("the name %q that its Env has", agentName), "%q", a.Name())
	}
}

func sizes(t *trial) {
	a := t.open(t.place())
	part := t.target.Limits.PartSize
	all := []int64{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1<<20 + 1}
	if !t.target.Short {
		all = append(all, part-1, part, part+1, 2*part+1, 17<<20)
	}
	var stored []*source
	for _, n := range all {
		s := t.stored(a, n)
		t.same(a, s)
		stored = append(stored, s)
	}
	t.lists(a, stored...)
	t.ranges(a, stored[5])
}

// ranges reads pieces of one archive and compares them.
func (t *trial) ranges(a core.Agent, s *source) {
	archive, err := a.Open(t.ctx, s.draft.ID)
	if err != nil {
		t.fail("Open", "%v", err)
	}
	defer t.close(archive, "Archive.Close")
	for _, r := range [][2]int64{{0, 1}, {1, 0}, {s.size - 1, 1}, {s.size, -1}, {12345, 67890}, {7, -1}} {
		off, n := r[0], r[1]
		t.did("range of %d bytes from %d of %d", n, off, s.size)
		want := n
		if n < 0 {
			want = s.size - off
		}
		got, sum, err := t.span(archive, off, n)
		if err != nil {
			t.fail("exactly those bytes", "%v", err)
		}
		if got != want || sum != s.sumOf(off, want) {
			t.fail(fmt.Sprintf("exactly those %d bytes", want), "%d others", got)
		}
	}
	for _, r := range [][2]int64{{-1, 1}, {0, s.size + 1}, {s.size + 1, -1}, {s.size, 1}} {
		t.did("range of %d bytes from %d of %d", r[1], r[0], s.size)
		_, _, err := t.span(archive, r[0], r[1])
		t.kind(err, core.ErrInvalid)
	}
}

func readYourWrite(t *trial) {
	ns := t.place()
	a, b := t.open(ns), t.open(ns)
	t.lists(b) // so that what b remembers is old
	s := t.stored(a, 1000)
	t.did("the other connection looks")
	t.equal(s.stored(), t.get(b, s.draft.ID), "Get")
	t.lists(b, s)
	t.same(b, s)
}

func sameIDTwice(t *trial) {
	a := t.open(t.place())
	first := t.stored(a, 5000)
	t.did("the same again")
	if err := t.upload(t.ctx, a, sourceOf(first.draft.ID, first.draft.Created, first.content)); err != nil {
		t.fail("success, because size and SHA-256 are the same", "%v", err)
	}
	for _, c := range []content{{first.seed + 1, 5000}, {first.seed, 4999}, {first.seed, 5001}, {first.seed, 0}} {
		t.did("the same id with %d other bytes", c.size)
		t.kind(t.upload(t.ctx, a, sourceOf(first.draft.ID, first.draft.Created, c)), core.ErrExists)
		t.same(a, first)
	}
	t.lists(a, first)
}

func oneTruth(t *trial) {
	a := t.open(t.place())
	for _, n := range []int64{0, 12345} {
		s := t.source(n)
		s.draft.Tags = core.Tags{"a": "1", "B": "zwei"}
		s.draft.Entries, s.draft.ContentSize = 3, 99999
		t.store(a, s)
		want := s.stored()
		t.equal(want, t.get(a, s.draft.ID), "Get")
		t.same(a, s)
		for _, b := range t.list(a) {
			if b.ID == s.draft.ID {
				t.equal(want, b, "List")
			}
		}
	}
}

func deletes(t *trial) {
	ns := t.place()
	a, b := t.open(ns), t.open(ns)
	s, other := t.stored(a, 3000), t.stored(a, 3000)
	t.lists(b, s, other)
	t.did("delete of %s", s.draft.ID)
	if err := a.Delete(t.ctx, s.draft.ID); err != nil {
		t.fail("Delete succeeds", "%v", err)
	}
	for _, agent := range []core.Agent{a, b} {
		t.absent(agent, s.draft.ID)
		t.did("delete again")
		t.kind(agent.Delete(t.ctx, s.draft.ID), core.ErrNotFound)
	}
	t.same(b, other)
	t.did("upload of the id that was deleted")
	t.kind(t.upload(t.ctx, b, sourceOf(s.draft.ID, s.draft.Created, s.content)), core.ErrExists)
	t.absent(a, s.draft.ID)
	if t.target.Raw != nil {
		keys, err := t.target.Raw.List(t.ctx, ns)
		t.ok(err, "a raw list")
		for _, k := range keys {
			if k == s.draft.Archive || k == metaKey(s.draft.ID) {
				t.fail("nothing but the gone mark is left of what was deleted", "%s", k)
			}
		}
	}
}

func closes(t *trial) {
	ns := t.place()
	a := t.open(ns)
	s := t.stored(a, 100)
	archive, err := a.Open(t.ctx, s.draft.ID)
	if err != nil {
		t.fail("Open", "%v", err)
	}
	for range 2 {
		t.did("Close")
		if err := a.Close(); err != nil {
			t.fail("Close succeeds", "%v", err)
		}
	}
	t.did("every call after Close")
	for name, err := range t.everyCall(a, t.ctx, s.draft.ID, t.source(10)) {
		if !errors.Is(err, core.ErrClosed) {
			t.fail(name+" answers ErrClosed", "%v", err)
		}
	}
	_, _, err = t.span(archive, 0, -1)
	t.kind(err, core.ErrClosed)
	t.close(archive, "Archive.Close after Close")
	t.same(t.open(ns), s)
}
