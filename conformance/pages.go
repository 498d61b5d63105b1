package conformance

import (
	"fmt"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// Section E, its second half: a list and the requests below it.
func pages() []Case {
	return []Case{
		{
			ID: "E04", Words: "early_stop", Level: Short, Needs: []Means{MeansFaulty, MeansRaw}, run: earlyStop,
			Clause: "Requests are made as the caller goes on, with a bounded number of entries read ahead, and end when it stops.",
			Why:    "who asks for one entry must not pay for a hundred thousand, nor leave a goroutine that does",
		}, {
			ID: "E05", Words: "failing_page", Level: Short, Needs: []Means{MeansFaulty, MeansRaw}, run: failingPage,
			Clause: "With an empty id the list itself could not be read to its end, and the sequence is over: what came before is right and incomplete.",
			Why:    "a list that ends early without a word makes sync copy everything and prune delete by half the truth",
		},
	}
}

func earlyStop(t *trial) {
	ns := t.place()
	n := max(400, 30*t.target.Limits.Page)
	t.plant(ns, nil, n)
	var rec recorder
	a := t.openFaulty(ns, rec.gate)
	for b, err := range a.List(t.ctx) {
		if err != nil {
			t.fail("a list without an error", "%q: %v", b.ID, err)
		}
		break
	}
	asked := len(rec.seen())
	t.did("the caller stops after the first of %d entries", n)
	if asked == 0 {
		t.inconclusive("steps", "a list that takes steps", "none")
	}
	if asked > n {
		t.fail("a bounded number of entries is read ahead", "%d steps for 1 of %d entries", asked, n)
	}
	t.idle()
	if more := len(rec.seen()); more != asked {
		t.fail("requests end when the caller stops", "%d more", more-asked)
	}
}

// idle asks for nothing for a while: not to wait for something, but so that what
// goes on without being asked would.
func (t *trial) idle() {
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
}

func failingPage(t *trial) {
	ns := t.place()
	n := 2*t.target.Limits.Page + 1
	all := t.plant(ns, nil, n)
	var rec recorder
	probe := t.openFaulty(ns, rec.gate)
	t.listsIDs(probe, idsOfSources(all))
	total := len(rec.seen())
	for _, k := range t.sample(total, 30) {
		t.dir += "x" // nothing remembered
		a := t.openFaulty(ns, rec.gate)
		rec.set(nth(k, Broken, anyStep))
		entries := t.entries(a)
		if len(rec.shotIfAny()) == 0 {
			continue // it asked less than the first time, whose order another goroutine may have changed
		}
		t.did("step %d of a list of %d is broken: %s", k, n, rec.shotIfAny()[0].Op)
		t.saysSo(entries, all)
	}
	rec.set(func(_ int, s Step) Fault {
		if s.Op == StepList {
			return Broken
		}
		return NoFault
	})
	t.dir += "x"
	entries := t.entries(t.openFaulty(ns, rec.gate))
	rec.shot(t, "every list step is broken")
	t.saysSo(entries, all)
}

func (r *recorder) shotIfAny() []Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Step(nil), r.fired...)
}

func idsOfSources(all []*source) (ids []core.ID) {
	for _, s := range all {
		ids = append(ids, s.draft.ID)
	}
	return ids
}

// saysSo demands of a list with a fault that each backup is there, or has an
// error of its own, or comes after an error that ended the list.
func (t *trial) saysSo(got []entry, all []*source) {
	for i, s := range all {
		switch {
		case i >= len(got):
			t.fail(fmt.Sprintf("an error, or all %d backups", len(all)), "%d and no error", len(got))
		case got[i].err != nil && got[i].ID == "":
			if i != len(got)-1 {
				t.fail("an error with an empty id ends the list", "%d more items", len(got)-1-i)
			}
			return
		case got[i].ID != s.draft.ID:
			t.fail(fmt.Sprintf("%s is item %d", s.draft.ID, i), "%s", got[i].ID)
		}
	}
}
