package conformance

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// Section M: what is not ours.
func isolation() []Case {
	const outside = "Nothing is read or written outside the agent's own place."
	return []Case{
		{
			ID: "M01", Words: "two_namespaces", Level: Short, run: namespaces, Clause: outside,
			Why: "two applications share a bucket, and one of them prunes",
		}, {
			ID: "M02", Words: "neighbours", Level: Short, Needs: []Means{MeansRaw}, run: neighbours, Clause: outside,
			Why: "a test, or a sweep, emptied a place that was somebody's",
		}, {
			ID: "M04", Words: "modes", Level: Short, Needs: []Means{MeansModes}, run: modes,
			Clause: "Names are hostile.",
			Why:    "a backup holds every secret of the application; others on the host must not read it",
		},
	}
}

func namespaces(t *trial) {
	base := t.place()
	all := []Namespace{base, base + "b", base + "/a", base + "/ab", base + "/a/b"}
	agents, sources := make([]core.Agent, len(all)), make([]*source, len(all))
	for i, ns := range all {
		t.used = append(t.used, ns)
		agents[i], sources[i] = t.open(ns), t.source(int64(1000+i))
		t.did("an agent at %q", strings.TrimPrefix(string(ns), string(base)))
		t.lists(agents[i])
		t.store(agents[i], sources[i])
	}
	shared := t.source(10)
	for i, a := range agents {
		mine := sourceOf(shared.draft.ID, shared.draft.Created, content{uint64(i), 10})
		t.did("the same id with other bytes, in each")
		t.store(a, mine)
		t.lists(a, sources[i], mine)
		t.same(a, mine)
	}
	for i, a := range agents {
		t.did("delete in one, sweep in one")
		if err := a.Delete(t.ctx, shared.draft.ID); err != nil {
			t.fail("Delete succeeds", "%v", err)
		}
		if _, ok := a.(core.Sweeper); ok {
			t.sweep(a, every)
		}
		for j, other := range agents {
			t.same(other, sources[j])
			if j > i {
				t.get(other, shared.draft.ID)
			}
		}
	}
	t.lists(t.open(base+"/a/"), sources[2])
}

// foreign is what lies beside a place.
type foreign struct {
	planted map[Namespace]map[string][]byte
}

// plantForeign makes neighbours of ns: whole backups, halves, and partial things
// that belong to others.
func (t *trial) plantForeign(near Namespace) *foreign {
	f := &foreign{planted: map[Namespace]map[string][]byte{}}
	s := t.source(100)
	doc, err := s.stored().Encode()
	t.ok(err, "a document")
	body, err := readAll(s)
	t.ok(err, "an archive")
	for _, ns := range []Namespace{near + "0", near + "-other"} {
		f.planted[ns] = map[string][]byte{
			metaKey(s.draft.ID): doc, s.draft.Archive: body, "data/alone.tar": []byte("an orphan of others"),
			"meta/broken.json": []byte("{"), "gone/old": nil, "tmp/part": []byte("a part of others"), "notes.txt": []byte("notes"),
		}
		for key, data := range f.planted[ns] {
			t.raw(ns, key, bytesReader(data))
		}
		t.beside = append(t.beside, ns)
	}
	return f
}

// untouched demands that the neighbours are as they were.
func (f *foreign) untouched(ctx context.Context, t *trial) {
	for ns, planted := range f.planted {
		keys, err := t.target.Raw.List(ctx, ns)
		t.ok(err, "a raw list")
		for key, want := range planted {
			got, err := t.target.Raw.Get(ctx, ns, key)
			if err != nil || !bytes.Equal(got, want) {
				t.fail("the neighbour's "+kindOfKey(key)+" is as it was", "%d bytes, error: %v", len(got), err)
			}
		}
		for _, key := range keys {
			if _, ok := planted[key]; !ok {
				t.fail("the neighbour gets nothing new", "%s", kindOfKey(key))
			}
		}
	}
}

func neighbours(t *trial) {
	ns := t.place()
	f := t.plantForeign(ns)
	a := t.open(ns)
	t.did("every call in one place, with %d neighbours", len(f.planted))
	kept, gone := t.stored(a, 1000), t.stored(a, 1000)
	bad := t.source(1000)
	bad.failingAt(500, fmt.Errorf("the source breaks"))
	_ = t.upload(t.ctx, a, bad) // C02 looks at the error
	if err := a.Delete(t.ctx, gone.draft.ID); err != nil {
		t.fail("Delete succeeds", "%v", err)
	}
	t.kind(a.Delete(t.ctx, "alone"), core.ErrNotFound)
	if _, ok := a.(core.Sweeper); ok {
		for range 2 {
			t.sweep(a, every)
			later := time.Now().Add(400 * 24 * time.Hour)
			t.now = func() time.Time { return later }
			a = t.open(ns)
		}
	}
	t.lists(a, kept)
	f.untouched(t.ctx, t)
}

func modes(t *trial) {
	ns := t.place()
	a := t.open(ns)
	t.stored(a, 1000)
	gone := t.stored(a, 1000)
	if err := a.Delete(t.ctx, gone.draft.ID); err != nil {
		t.fail("Delete succeeds", "%v", err)
	}
	all, err := t.target.Modes(t.ctx, ns)
	t.ok(err, "modes")
	if len(all) < 3 {
		t.inconclusive("modes", "the modes of files and folders", "%d", len(all))
	}
	t.did("an upload and a delete; the permissions of what is there")
	var paths []string
	for p := range all {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		want := all[p] & 0o600
		if all[p].IsDir() {
			want = all[p] & 0o700
		}
		if all[p].Perm() != want.Perm() {
			t.fail("files of mode 0600 and folders of mode 0700, or less", "%s has %v", kindOfKey(p), all[p])
		}
	}
}
