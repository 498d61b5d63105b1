package conformance

import (
	"fmt"
	"strings"

	"github.com/offsite-backup/offsite/core"
)

// Section B, its second half: metadata that somebody or something broke.
func documents() []Case {
	return []Case{
		{
			ID: "B07", Words: "broken_document", Level: Short, Needs: []Means{MeansRaw}, run: brokenDocument,
			Clause: "An entry that cannot be read is one error in the sequence and does not hide the others.",
			Why:    "one broken file made whole repositories unlistable, on the day when the others were needed",
		}, {
			ID: "B08", Words: "halves", Level: Short, Needs: []Means{MeansRaw}, run: halves,
			Clause: "ErrDamaged that its metadata cannot be understood or does not fit the archive.",
			Why:    "a backup of which one half is there was counted by retention as a good one",
		},
	}
}

func brokenDocument(t *trial) {
	ns := t.place()
	a := t.open(ns)
	first, victim, last := t.stored(a, 1000), t.stored(a, 1000), t.stored(a, 1000)
	whole, err := victim.stored().Encode()
	t.ok(err, "a document")
	doc, id := string(whole), string(victim.draft.ID)
	broken := []struct{ what, doc string }{
		{"empty", ""},
		{"cut in half", doc[:len(doc)/2]},
		{"cut before its last brace", doc[:strings.LastIndex(doc, "}")]},
		{"garbage", "\x00\xff not json"},
		{"null", "null"},
		{"a list", "[]"},
		{"of another id", strings.ReplaceAll(doc, id, string(first.draft.ID))},
		{"naming the archive of another", strings.ReplaceAll(doc, "data/"+id, "data/"+string(first.draft.ID))},
		{"naming an archive outside", strings.ReplaceAll(doc, "data/"+id, "data/../../"+id)},
		{"without a hash", strings.ReplaceAll(doc, victim.seal().SHA256, "")},
		{"of a negative size", strings.ReplaceAll(doc, `"size": 1000`, `"size": -1`)},
	}
	for _, b := range broken {
		if b.doc == doc {
			t.inconclusive("means", "a broken document", "%s: it is the same", b.what)
		}
		t.raw(ns, metaKey(victim.draft.ID), strings.NewReader(b.doc))
		t.did("the metadata of the second of three is %s", b.what)
		t.damaged(a, victim.draft.ID, first, last)
	}
	t.did("delete of the damaged one")
	if err := a.Delete(t.ctx, victim.draft.ID); err != nil {
		t.fail("it is removed", "%v", err)
	}
	t.lists(a, first, last)
	t.same(a, first)
	t.same(a, last)
}

// damaged demands that id is one error of kind ErrDamaged everywhere and that the
// others are well.
func (t *trial) damaged(a core.Agent, id core.ID, others ...*source) {
	t.badEntry(a, id, core.ErrDamaged, others...)
	t.wrong(a, id, core.ErrDamaged)
}

func (t *trial) badEntry(a core.Agent, id core.ID, kind core.ErrorKind, others ...*source) {
	_, err := a.Get(t.ctx, id)
	t.kind(err, kind)
	seen := map[core.ID]int{}
	for _, e := range t.entries(a) {
		seen[e.ID]++
		switch {
		case e.ID == id:
			t.kind(e.err, kind)
		case e.err != nil:
			t.fail("an error for the damaged entry alone", "%q: %v", e.ID, e.err)
		}
	}
	if seen[id] != 1 {
		t.fail("one error in the list, with the id of the entry", "%d", seen[id])
	}
	for _, s := range others {
		if seen[s.draft.ID] != 1 {
			t.fail("the other backups, once each", "%s is listed %d times", s.draft.ID, seen[s.draft.ID])
		}
	}
	if len(seen) != 1+len(others) {
		t.fail(fmt.Sprintf("%d entries", 1+len(others)), "%d", len(seen))
	}
}

func halves(t *trial) {
	ns := t.place()
	a := t.open(ns)
	kept := t.stored(a, 1000)
	lone := t.source(1000)
	t.raw(ns, lone.draft.Archive, lone.reader())
	t.did("an archive without metadata")
	t.absent(a, lone.draft.ID)
	t.lists(a, kept)
	t.kind(a.Delete(t.ctx, lone.draft.ID), core.ErrNotFound)

	bare := t.source(1000)
	doc, err := bare.stored().Encode()
	t.ok(err, "a document")
	t.raw(ns, metaKey(bare.draft.ID), bytesReader(doc))
	t.did("metadata without an archive")
	t.damaged(a, bare.draft.ID, kept)
	t.did("upload of that backup, which is not whole for that")
	t.kind(t.upload(t.ctx, a, bare), core.ErrDamaged)
	t.damaged(a, bare.draft.ID, kept)
	t.raw(ns, bare.draft.Archive, content{1, 999}.reader())
	t.did("metadata with an archive of another size")
	t.damaged(a, bare.draft.ID, kept)
	if err := a.Delete(t.ctx, bare.draft.ID); err != nil {
		t.fail("what is damaged is removed", "%v", err)
	}
	t.lists(a, kept)
	t.same(a, kept)
}
