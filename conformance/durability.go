package conformance

import (
	"fmt"
	"path"

	"github.com/offsite-backup/offsite/core"
)

// Section C, its last part: what the place itself does to an upload.
func durability() []Case {
	return []Case{
		{
			ID: "C08", Words: "no_leftovers", Level: Short, Needs: []Means{MeansRaw}, run: noLeftovers,
			Clause: "No goroutine and no temporary object outlives the call, except the parts that a later upload of the same id goes on with; those are listed by Sweep.",
			Why:    "parts that nobody lists are paid for, until a quota is full of them",
		}, {
			ID: "C09", Words: "marker_last", Level: Short, Needs: []Means{MeansFaulty}, run: markerLast,
			Clause: "The metadata is stored after the archive is: complete, checked, and on disk or acknowledged by the provider.",
			Why:    "a marker without its data is a backup that exists until it is needed",
		}, {
			ID: "C12", Words: "no_space", Level: Short, Needs: []Means{MeansFaulty}, run: noSpace,
			Clause: "Errors have kinds.",
			Why:    "a full disk was reported as something that may pass, and was retried all night",
		}, {
			ID: "C13", Words: "sync_order", Level: Short, Needs: []Means{MeansFaulty, MeansSync}, run: syncOrder,
			Clause: "The metadata is stored after the archive is: complete, checked, and on disk or acknowledged by the provider.",
			Why:    "after a power loss the file had its name and no bytes",
		},
	}
}

func noLeftovers(t *trial) {
	ns := t.place()
	a := t.open(ns)
	kept := t.stored(a, 200_000)
	size, offs := t.offsets()
	for _, off := range offs {
		s := t.source(size)
		s.failingAt(off, fmt.Errorf("the source breaks"))
		_ = t.upload(t.ctx, a, s) // C02 looks at the error
	}
	for _, gives := range []int64{size - 1, size + 1} {
		s := t.source(size)
		s.gives = content{s.seed, gives}
		_ = t.upload(t.ctx, a, s) // C03 and C04 look at the error
	}
	again := sourceOf(kept.draft.ID, kept.draft.Created, content{1, 200_000})
	t.did("uploads that broke, ended early or late, or were of a taken id")
	t.kind(t.upload(t.ctx, a, again), core.ErrExists)
	gone := t.stored(a, 1000)
	if err := a.Delete(t.ctx, gone.draft.ID); err != nil {
		t.fail("Delete succeeds", "%v", err)
	}
	t.clean(ns, a, kept)
}

// clean demands that a sweep of a host all of whose uploads are over leaves
// nothing at a place but these.
func (t *trial) clean(ns Namespace, a core.Agent, kept ...*source) {
	t.did("sweep of what this host left")
	if _, ok := a.(core.Sweeper); ok {
		t.sweep(a, every)
	}
	left, err := t.target.Raw.Leftovers(t.ctx, ns)
	t.ok(err, "a raw list of leftovers")
	if len(left) > 0 {
		t.fail("no partial or temporary object is left", "%d, the first is %s", len(left), kindOfKey(left[0]))
	}
	keys, err := t.target.Raw.List(t.ctx, ns)
	t.ok(err, "a raw list")
	known := map[string]bool{}
	for _, s := range kept {
		known[s.draft.Archive], known[metaKey(s.draft.ID)] = true, true
	}
	for _, k := range keys {
		if dir := path.Dir(k); (dir == "data" || dir == "meta" || dir == "tmp") && !known[k] {
			t.fail("no archive and no metadata but of backups", "%s", kindOfKey(k))
		}
	}
	t.lists(a, kept...)
}

func markerLast(t *trial) {
	ns := t.place()
	watch := t.open(ns)
	var rec recorder
	a := t.openFaulty(ns, rec.gate)
	kept := t.stored(a, 300_000)
	rec.set(nil)
	t.stored(a, 300_000) // the first one also made folders
	total := count(rec.seen(), anyStep)
	for _, gone := range []bool{false, true} {
		for _, k := range t.sample(total, 25) {
			rule := nth(k, Broken, anyStep)
			if gone {
				rule = from(k, Broken, anyStep)
			}
			rec.set(rule)
			s := t.source(300_000)
			err := t.upload(t.ctx, a, s)
			rec.shot(t, fmt.Sprintf("step %d of an upload is broken (and all after it: %v)", k, gone))
			rec.set(nil)
			if there := t.wholeOrAbsent(watch, s); err == nil && !there {
				t.fail("an upload that succeeded is there", "it is not")
			}
			t.did("the same again")
			t.store(a, s)
			t.same(watch, s)
		}
	}
	t.same(watch, kept)
	t.deleteBroken(ns, a, watch, &rec)
}

// deleteBroken breaks each step of a delete.
func (t *trial) deleteBroken(ns Namespace, a, watch core.Agent, rec *recorder) {
	for range 2 { // the first one also made a folder
		s := t.stored(a, 1000)
		rec.set(nil)
		if err := a.Delete(t.ctx, s.draft.ID); err != nil {
			t.fail("Delete succeeds", "%v", err)
		}
	}
	for k := range count(rec.seen(), anyStep) {
		s := t.stored(a, 1000)
		rec.set(from(k, Broken, anyStep))
		err := a.Delete(t.ctx, s.draft.ID)
		rec.shot(t, fmt.Sprintf("the place breaks at step %d of a delete", k))
		rec.set(nil)
		if there := t.wholeOrAbsent(watch, s); err == nil && there {
			t.fail("what was deleted is gone", "it is there")
		} else if there {
			t.did("delete again")
			if err := a.Delete(t.ctx, s.draft.ID); err != nil {
				t.fail("Delete succeeds", "%v", err)
			}
		}
		t.absent(watch, s.draft.ID)
	}
}

func noSpace(t *trial) {
	ns := t.place()
	watch := t.open(ns)
	var rec recorder
	a := t.openFaulty(ns, rec.gate)
	const size = 300_000
	kept := t.stored(a, size)
	written := 0
	for _, s := range rec.seen() {
		if s.Op == StepWrite {
			written += s.Size
		}
	}
	for _, room := range []int{0, 1, size / 2, size - 1, size, written - 1} {
		rec.set(spaceFor(room))
		s := t.source(size)
		err := t.upload(t.ctx, a, s)
		rec.shot(t, fmt.Sprintf("the place is full after %d of %d bytes", room, written))
		t.kind(err, core.ErrNoSpace)
		if n := count(rec.seen(), func(s Step) bool { return s.Op == StepWrite }); n > 100 {
			t.fail("no retries against a full place", "%d writes", n)
		}
		rec.set(nil)
		t.absent(watch, s.draft.ID)
		t.same(watch, kept)
		t.did("there is space again")
		t.store(a, s)
		t.same(watch, s)
	}
	for _, op := range []StepOp{StepClose, StepSync} {
		t.failsAtEach(a, watch, &rec, op)
	}
}

// failsAtEach makes each step of a kind fail, which an upload must not hide.
func (t *trial) failsAtEach(a, watch core.Agent, rec *recorder, op StepOp) {
	is := func(s Step) bool { return s.Op == op }
	rec.set(nil)
	t.stored(a, 1000)
	for k := range count(rec.seen(), is) {
		rec.set(nth(k, NoSpace, is))
		s := t.source(1000)
		err := t.upload(t.ctx, a, s)
		rec.shot(t, fmt.Sprintf("no space, at %s number %d", op, k))
		rec.set(nil)
		if err == nil {
			t.fail("the upload fails, because what was written may not be there", "it succeeded")
		}
		t.wholeOrAbsent(watch, s)
	}
}

// spaceFor fails writes that go over so many bytes in all.
func spaceFor(room int) func(int, Step) Fault {
	used := 0
	return func(_ int, s Step) Fault {
		if s.Op != StepWrite {
			return NoFault
		}
		if used+s.Size > room {
			return NoSpace
		}
		used += s.Size
		return NoFault
	}
}

func syncOrder(t *trial) {
	ns := t.place()
	var rec recorder
	a := t.openFaulty(ns, rec.gate)
	t.did("the first upload to a place, and a second")
	for range 2 {
		rec.set(nil)
		t.stored(a, 300_000)
		t.synced(rec.seen())
	}
}

// synced demands that bytes are durable before they get a name, and each name
// before the next one and before the end.
func (t *trial) synced(steps []Step) {
	unsynced, unnamed := map[string]bool{}, map[string]bool{}
	published, last := 0, "" // a name may be given in several ways, one after the other
	for _, s := range steps {
		switch s.Op {
		case StepWrite:
			unsynced[s.Key] = true
		case StepSync:
			delete(unsynced, s.Key)
		case StepSyncDir:
			delete(unnamed, s.Key)
		case StepPublish:
			published++
			if unsynced[s.From] || unsynced[s.Key] {
				t.fail("the bytes of a file are synced before it gets its name", "%s was published and not synced", kindOfKey(s.Key))
			}
			if len(unnamed) > 0 && s.Key != last {
				t.fail("the folder of the archive is synced before the metadata gets its name", "%s was published first", kindOfKey(s.Key))
			}
			unnamed[path.Dir(s.Key)], last = true, s.Key
		}
	}
	if published < 2 {
		t.inconclusive("steps", "an archive and metadata that are published", "%d steps of that kind", published)
	}
	if len(unnamed) > 0 {
		t.fail("the folder of the metadata is synced before Upload returns", "it was not")
	}
}
