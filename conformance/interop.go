package conformance

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/offsite-backup/offsite/core"
)

// Section N, and Q: other versions and other hands; and the run itself.
func interop() []Case {
	return []Case{
		{
			ID: "N02", Words: "future", Level: Short, Needs: []Means{MeansRaw}, run: future,
			Clause: "A document of the same major version and a newer minor one is read, its unknown fields kept.",
			Why:    "one host is updated before the other, and the older one must neither lose nor delete what it does not know",
		}, {
			ID: "N03", Words: "by_hand", Level: Short, Needs: []Means{MeansRaw}, run: byHand,
			Clause: "What is not ours is ignored and left alone.",
			Why:    "people copy archives by hand, and write the metadata with an editor",
		},
	}
}

func future(t *trial) {
	ns, copied := t.place(), t.place()
	a, b := t.open(ns), t.open(copied)
	s, old := t.stored(a, 1000), t.source(1000)
	doc, err := s.stored().Encode()
	t.ok(err, "a document")
	next := strings.Replace(string(doc), `"schema": "`+core.Schema+`"`, `"later": {"a": [1, 2.50]}, "schema": "1.9"`, 1)
	if next == string(doc) {
		t.inconclusive("means", "a document of a newer schema", "it is the same")
	}
	t.raw(ns, metaKey(s.draft.ID), strings.NewReader(next))
	t.did("metadata of schema 1.9 with a field that nobody knows yet, copied to another place")
	read := t.get(a, s.draft.ID)
	again := sourceOf(s.draft.ID, s.draft.Created, s.content)
	again.draft, again.prepare = read, func(s *source) { s.sealed = read }
	t.store(b, again)
	got, err := t.target.Raw.Get(t.ctx, copied, metaKey(s.draft.ID))
	t.ok(err, "raw get of metadata")
	if !bytes.Equal(got, []byte(next)) {
		t.fail(fmt.Sprintf("the very %d bytes that were read", len(next)), "%d others", len(got))
	}
	t.equal(read, t.get(b, s.draft.ID), "Get of the copy")
	t.lists(b, again)

	two := strings.ReplaceAll(strings.ReplaceAll(next, "1.9", "2.0"), string(s.draft.ID), string(old.draft.ID))
	t.raw(ns, old.draft.Archive, s.reader())
	t.raw(ns, metaKey(old.draft.ID), strings.NewReader(two))
	t.did("metadata of schema 2.0")
	t.badEntry(a, old.draft.ID, core.ErrUnsupported, s)
	t.wrong(a, old.draft.ID, core.ErrUnsupported)
	if _, ok := a.(core.Sweeper); ok {
		if left := t.sweep(a, every); len(left) > 0 {
			t.fail("what a newer version stored is no leftover", "%q", left[0].Key)
		}
	}
	t.badEntry(a, old.draft.ID, core.ErrUnsupported, s)
}

func byHand(t *trial) {
	ns := t.place()
	a := t.open(ns)
	s := t.source(1234)
	s.draft = core.Backup{ID: "by-hand", Archive: "data/by-hand.tgz"}
	t.raw(ns, s.draft.Archive, s.reader())
	t.did("an archive without metadata")
	t.lists(a)
	doc := fmt.Sprintf(`{"id":"by-hand","schema":"1.0","created":"2020-01-01T00:00:00+02:00","archive":"data/by-hand.tgz","size":1234,"sha256":%q}`, s.sumOf(0, s.size))
	t.raw(ns, metaKey("by-hand"), strings.NewReader(doc))
	t.did("the same with the least metadata that there can be")
	read, err := core.DecodeBackup("by-hand", []byte(doc))
	t.ok(err, "metadata by hand")
	t.equal(read, t.get(a, "by-hand"), "Get")
	for _, b := range t.list(a) {
		t.equal(read, b, "List")
	}
	got, err := t.whole(a, "by-hand")
	if err != nil || got.size != s.size || got.sum != read.SHA256 {
		t.fail("its bytes", "%d bytes, error: %v", got.size, err)
	}
	if err := a.Delete(t.ctx, "by-hand"); err != nil {
		t.fail("Delete succeeds", "%v", err)
	}
	t.absent(a, "by-hand")
}

// judgement has the cases that look at the run itself. They come last.
func judgement() []Case {
	return []Case{
		{
			ID: "Q02", Words: "proxy_self-test", Level: Short, Needs: []Means{MeansWire}, run: proxySelf,
			Clause: "The clauses below are that promise; they hold for every agent, whatever its provider offers, and each has cases in the conformance suite that an agent without it does not pass.",
			Why:    "a fault that never reaches the agent finds nothing, and every case with it passes",
		}, {
			ID: "Q03", Words: "leftovers", Level: Short, Needs: []Means{MeansRaw}, run: leftovers,
			Clause: "No goroutine and no temporary object outlives the call, except the parts that a later upload of the same id goes on with; those are listed by Sweep.",
			Why:    "what a suite of tests leaves behind, a year of backups leaves a thousand times",
		}, {
			ID: "Q04", Words: "skips", Level: Short, run: skips,
			Clause: "The clauses below are that promise; they hold for every agent, whatever its provider offers, and each has cases in the conformance suite that an agent without it does not pass.",
			Why:    "a case that was skipped was counted as passed",
		},
	}
}

func leftovers(t *trial) {
	if len(t.used) == 0 { // the only case that runs
		t.stored(t.open(t.place()), 1000)
	}
	for _, ns := range t.used {
		a := t.open(ns)
		if _, ok := a.(core.Sweeper); ok {
			for range a.(core.Sweeper).Sweep(t.ctx, every) { // what cannot be swept is found below
			}
		}
		left, err := t.target.Raw.Leftovers(t.ctx, ns)
		t.ok(err, "a raw list of leftovers")
		if len(left) > 0 {
			t.did("a place of this run, after all its uploads and a sweep")
			t.fail("no partial or temporary object is left", "%d, the first is %s", len(left), kindOfKey(left[0]))
		}
	}
}

func skips(t *trial) {
	given := map[Means]bool{
		MeansRaw: t.target.Raw != nil, MeansFaulty: t.target.OpenFaulty != nil, MeansCrash: t.target.Crash != nil,
		MeansModes: t.target.Modes != nil, MeansSecrets: len(t.target.Secrets) > 0, MeansWire: t.target.Wire != nil,
		MeansAnswers: t.target.Wire.has(anyAnswer), MeansClock: t.target.Wire.has(clockAnswer),
		MeansLateError: t.target.Wire.has(Answer.late),
	}
	for m, why := range t.target.Lacks {
		if given[m] {
			t.fail("what a target lacks is not there", "%s: it is, and the reason given is %q", m, why)
		}
		if len(strings.Fields(why)) < 3 {
			t.fail("a reason that a reader understands", "%s: %q", m, why)
		}
	}
	for _, r := range t.report.Cases {
		if r.Status == NotApplicable && r.Reason == "" {
			t.fail("a reason for each case that does not apply", "%s has none", r.ID)
		}
	}
}
