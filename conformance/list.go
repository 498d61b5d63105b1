package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// Section E: the list. E08, filters, is left out: List has none.
func list() []Case {
	const complete = "It has every page, in order."
	return []Case{
		{
			ID: "E01", Words: "page_edges", Level: Short, run: pageEdges, Clause: complete,
			Why: "lists lose or repeat what lies at the edge of a page",
		}, {
			ID: "E02", Words: "natural_page", Level: Short, Needs: []Means{MeansRaw}, run: naturalPage, Clause: complete,
			Why: "lists that end at 1,000 entries hide the newest backups and keep the oldest for ever",
		}, {
			ID: "E03", Words: "churn", Level: Short, run: churn, Clause: complete,
			Why: "another host deletes and adds while this one lists; what stays must be seen exactly once",
		}, {
			ID: "E09", Words: "odd_marker", Level: Short, Needs: []Means{MeansRaw}, run: oddMarker, Clause: complete,
			Why: "a page that ended at a name with a space or a plus made the next page begin elsewhere",
		}, {
			ID: "E10", Words: "foreign_objects", Level: Short, Needs: []Means{MeansRaw}, run: foreignObjects,
			Clause: "What is not ours is ignored and left alone.",
			Why:    "people put files beside their backups, and tools leave markers",
		},
	}
}

// plant puts whole small backups through the back door, or uploads them.
func (t *trial) plant(ns Namespace, a core.Agent, n int) []*source {
	all := make([]*source, n)
	for i := range all {
		all[i] = t.source(int64(i % 5))
		all[i].seal()
	}
	if t.target.Raw == nil {
		for _, s := range all {
			t.store(a, s)
		}
		return all
	}
	t.parallel(8, func(w int) {
		for i := w; i < n; i += 8 {
			t.plantOne(ns, all[i])
		}
	})
	return all
}

func (t *trial) plantOne(ns Namespace, s *source) {
	doc, err := s.seal().Encode()
	t.ok(err, "a document")
	t.raw(ns, s.draft.Archive, s.reader())
	t.raw(ns, metaKey(s.draft.ID), bytesReader(doc))
}

// unplant removes what was planted through the back door: emulators look through all
// that they hold for each request of the cases that follow.
func (t *trial) unplant(ns Namespace, all []*source) {
	t.parallel(8, func(w int) {
		for i := w; i < len(all); i += 8 {
			for _, key := range []string{metaKey(all[i].draft.ID), all[i].draft.Archive} {
				t.ok(t.target.Raw.Delete(t.ctx, ns, key), "a raw delete")
			}
		}
	})
}

func pageEdges(t *trial) {
	p := t.target.Limits.Page
	for _, n := range []int{0, 1, p - 1, p, p + 1, 2 * p, 2*p + 1} {
		ns := t.place()
		a := t.open(ns)
		all := t.plant(ns, a, n)
		t.did("a list of %d backups, of which %d make a page", n, p)
		t.lists(a, all...)
	}
}

func naturalPage(t *trial) {
	ns := t.place()
	const n = 1001
	all := t.plant(ns, nil, n)
	t.did("a list of %d backups", n)
	a := t.open(ns)
	t.lists(a, all...)
	for i, b := range t.list(a) {
		if b.Size != all[i].size {
			t.fail(fmt.Sprintf("%s has %d bytes", b.ID, all[i].size), "%d", b.Size)
		}
	}
	t.unplant(ns, all)
}

func churn(t *trial) {
	ns := t.place()
	a, other := t.open(ns), t.open(ns)
	all := t.plant(ns, a, 4*t.target.Limits.Page)
	before := t.source(1)
	before.draft.ID, before.draft.Archive = "00000000T000000Z-first", "data/00000000T000000Z-first"
	var stable, got []core.ID
	for i, s := range all {
		if i%3 != 1 {
			stable = append(stable, s.draft.ID)
		}
	}
	t.did("while a list goes on, every third backup is deleted, and one is added before all and one after")
	i := 0
	for b, err := range a.List(t.ctx) {
		if err != nil {
			t.fail("a list without an error", "%q: %v", b.ID, err)
		}
		if slices.Contains(stable, b.ID) {
			got = append(got, b.ID)
		}
		if i++; i == 2 {
			for n := 1; n < len(all); n += 3 {
				if err := other.Delete(t.ctx, all[n].draft.ID); err != nil {
					t.fail("Delete succeeds", "%v", err)
				}
			}
			t.store(other, before)
			t.stored(other, 1)
		}
	}
	if !slices.Equal(got, stable) {
		t.fail(fmt.Sprintf("the %d backups that stayed, once each and in order", len(stable)), "%d", len(got))
	}
}

func oddMarker(t *trial) {
	ns := t.place()
	a := t.open(ns)
	all := t.plant(ns, a, 3*t.target.Limits.Page)
	for i, s := range all {
		for _, odd := range []string{" ", "+", "&a=b", "%2B", "%"} {
			if i%3 == 0 { // so that the edges of pages of 7 move through them
				t.raw(ns, "meta/"+string(s.draft.ID)+odd+".json", bytesReader(nil))
			}
		}
	}
	t.did("a list of %d backups with names between them that have a space, +, &, = and %%", len(all))
	t.lists(a, all...)
}

func foreignObjects(t *trial) {
	ns := t.place()
	a := t.open(ns)
	kept, gone := t.stored(a, 1000), t.stored(a, 1000)
	odd := []byte("not ours")
	keys := []string{
		"README.txt", "meta/readme.txt", "meta/.hidden.json", "meta/not an id.json", "meta/_a.json", "meta/" + string(kept.draft.ID) + ".json.bak",
		"meta/below/" + string(kept.draft.ID) + ".json", "data/two words.bin", "data/below/a.bin", "deep/a/b/c/d.txt", "meta.json", ".DS_Store",
	}
	for _, k := range keys {
		t.raw(ns, k, bytesReader(odd))
	}
	t.did("%d foreign objects beside a backup; list, upload, delete, sweep", len(keys))
	t.lists(a, kept, gone)
	t.same(a, kept)
	if err := a.Delete(t.ctx, gone.draft.ID); err != nil {
		t.fail("Delete succeeds", "%v", err)
	}
	late := t.stored(a, 10)
	if _, ok := a.(core.Sweeper); ok {
		for range 2 {
			for _, l := range t.sweep(a, every) {
				t.fail("what is not ours is no leftover", "%q", l.Key)
			}
			later := time.Now().Add(8 * 24 * time.Hour)
			t.now = func() time.Time { return later }
			a = t.open(ns)
		}
	}
	t.lists(a, kept, late)
	for _, k := range keys {
		got, err := t.target.Raw.Get(t.ctx, ns, k)
		if err != nil || !bytes.Equal(got, odd) {
			t.fail(k+" is as it was", "%d bytes, error: %v", len(got), err)
		}
	}
}
