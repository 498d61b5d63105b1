package conformance

import (
	"slices"
	"strings"

	"github.com/offsite-backup/offsite/core"
)

// Section L: names are hostile.
func names() []Case {
	const hostile = "Ids and keys are validated before any request is made: ErrInvalid."
	const outside = "Nothing is read or written outside the agent's own place."
	return []Case{
		{
			ID: "L01", Words: "60_names", Level: Short, run: manyNames, Clause: hostile,
			Why: "a name that a place changes cannot be found again",
		}, {
			ID: "L02", Words: "twins", Level: Short, run: twins, Clause: "Archives and metadata are created, never overwritten.",
			Why: "two names that a place takes for one overwrite each other",
		}, {
			ID: "L03", Words: "escape", Level: Short, run: escape, Clause: outside,
			Why: "a name with .. in it read and deleted files of others",
		}, {
			ID: "L05", Words: "siblings", Level: Short, run: siblings, Clause: outside,
			Why: "deleting by a prefix deletes every backup whose name begins so",
		},
	}
}

// called is a source with an id.
func (t *trial) called(id core.ID, ext string) *source {
	s := t.source(int64(50 + len(id)))
	s.draft.ID, s.draft.Archive = id, "data/"+string(id)+ext
	return s
}

func goodNames() []core.ID {
	ids := []core.ID{"0", "9", "a", "Z", "a-", "a_", "a--b", "a__b", "CON", "nul", "com1", "LPT9", "aux", "00000000T000000Z-0000000000000", "meta", "data", "gone", "hold", "tmp", "json", "tar", "partial", "a-json", "true", "null", "1e9", "0x10", "A-1_b-2_C"}
	for n := 2; n <= 128; n += 6 {
		ids = append(ids, core.ID(strings.Repeat("x", n-1)+"9"))
	}
	for _, c := range "bcdeBCDE5678" {
		ids = append(ids, core.ID("n-"+string(c)+"_"))
	}
	return ids
}

func badNames() []core.ID {
	return []core.ID{
		"", ".", "..", "../a", "a/b", "/a", "a/", `a\b`, "a b", " a", "a ", "a.", ".a", "a.json", "a\x00", "a\n", "é", "e\u0301", "-a", "_a",
		"a%2Fb", "a+b", "a&b", "a=b", "a:b", "a*", "a?", "~", "$(id)", "a;b", "`id`", `"a"`, "'a'", "a|b", "a>b", "\xff", core.ID(strings.Repeat("a", 129)),
	}
}

func manyNames(t *trial) {
	a := t.open(t.place())
	var all []*source
	for _, id := range goodNames() {
		s := t.called(id, "")
		t.did("the id %q", id)
		t.store(a, s)
		all = append(all, s)
	}
	for _, s := range all {
		t.same(a, s)
	}
	t.lists(a, all...)
	for _, id := range badNames() {
		t.did("the id %q", id)
		s := t.source(10)
		s.draft.ID, s.draft.Archive = id, "data/"+string(id)
		for name, err := range t.everyCall(a, t.ctx, id, s) {
			if name != "List" && name != "Sweep" {
				t.kind(err, core.ErrInvalid)
			}
		}
		if s.read.Load() > 0 {
			t.fail("it is refused before any of the archive is read", "%d bytes were read", s.read.Load())
		}
	}
	for _, s := range all[:len(all)/2] {
		if err := a.Delete(t.ctx, s.draft.ID); err != nil {
			t.fail("Delete succeeds", "%v", err)
		}
	}
	t.lists(a, all[len(all)/2:]...)
}

func twins(t *trial) {
	a := t.open(t.place())
	var all []*source
	for _, id := range []core.ID{"a", "A", "aB", "Ab", "AB", "ab", "a-b", "a_b", "a-", "a_", "a0", "a00", "O", "0", "l", "1", "I"} {
		s := t.called(id, ".tar")
		t.did("the id %q beside its twins", id)
		t.store(a, s)
		all = append(all, s)
	}
	t.lists(a, all...)
	for _, s := range all {
		t.same(a, s)
	}
}

func escape(t *trial) {
	ns := t.place()
	a := t.open(ns)
	kept := t.stored(a, 100)
	id := string(t.source(1).draft.ID)
	for _, key := range []string{
		"", "data", "data/", "data/" + string(kept.draft.ID), kept.draft.Archive, "meta/" + id + ".json", "../data/" + id, "/data/" + id, "data/../" + id,
		"data/" + id + "/../x", "data/" + id + "/x", "data/./" + id, "data/" + id + ".TAR", "data/" + id + ".a.b.c.d", "data/" + id + ".", "data/" + id + ".toolongext",
		"data//" + id, `data\` + id, "data/" + id + "\x00", "gone/" + id, "data/" + id + ".tar\n",
	} {
		s := t.source(10)
		s.draft.ID, s.draft.Archive = core.ID(id), key
		t.did("an archive key %q", key)
		t.refused(a, s)
	}
	if t.target.Raw != nil {
		t.escapeDocument(ns, a, kept)
	}
	t.lists(a, kept)
	t.same(a, kept)
}

// escapeDocument plants metadata that names what is not its own.
func (t *trial) escapeDocument(ns Namespace, a core.Agent, kept *source) {
	evil := t.source(100)
	doc, err := evil.stored().Encode()
	t.ok(err, "a document")
	for _, key := range []string{"../" + string(ns) + "/" + kept.draft.Archive, kept.draft.Archive, "data/../data/" + string(kept.draft.ID) + ".tar.zst", metaKey(kept.draft.ID)} {
		planted := strings.Replace(string(doc), evil.draft.Archive, key, 1)
		t.raw(ns, metaKey(evil.draft.ID), strings.NewReader(planted))
		t.did("metadata whose archive is %q of another, and its delete", kindOfKey(key))
		t.damaged(a, evil.draft.ID, kept)
		if err := a.Delete(t.ctx, evil.draft.ID); err != nil {
			t.fail("what is damaged is removed", "%v", err)
		}
		t.same(a, kept)
	}
}

func siblings(t *trial) {
	a := t.open(t.place())
	var all []*source
	for _, id := range []core.ID{"s", "s0", "s-", "s-1", "s_1", "ss", "sS", "s-json"} {
		for _, ext := range []string{"", ".tar", ".tar.zst.age"}[len(all)%3:][:1] {
			s := t.called(id, ext)
			t.store(a, s)
			all = append(all, s)
		}
	}
	for len(all) > 0 {
		t.did("delete of %q beside %d whose names begin like it", all[0].draft.ID, len(all)-1)
		if err := a.Delete(t.ctx, all[0].draft.ID); err != nil {
			t.fail("Delete succeeds", "%v", err)
		}
		all = slices.Delete(all, 0, 1)
		t.lists(a, all...)
		for _, s := range all {
			t.same(a, s)
		}
	}
}
