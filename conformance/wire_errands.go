package conformance

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/core"
)

// An errand is one call of an agent and what has to come of it.
type errand struct {
	what    string
	ns      Namespace
	prepare func() *source                 // what it is about; called in order
	do      func(w wired, s *source) error // what it answers without an error has to be right
	after   func(s *source, err error)     // looks at the place, which may hold no half thing
	end     func()                         // looks at the whole place, when all is done
}

// severalParts is a size of several parts, of which the last is not full.
func (t *trial) severalParts() int64 {
	part := t.target.Limits.PartSize
	if part > 1<<20 { // as good, and less to move
		return part + part/2 + 1
	}
	return 2*part + part/2 + 1
}

// errandSize is a size of several parts too, unless the run is short and parts are
// large.
func (t *trial) errandSize() int64 {
	if t.target.Short && t.target.Limits.PartSize > largePart {
		return 300_000
	}
	return t.severalParts()
}

// middle is a byte in the middle of the first part of that.
func (t *trial) middle() int64 { return min(t.errandSize(), t.target.Limits.PartSize) / 2 }

// uploading is the upload of several parts. Whatever becomes of it, the place has
// the whole backup or none, and the same upload again succeeds.
func (t *trial) uploading() errand {
	ns := t.place()
	direct := t.open(ns)
	var all []*source
	return errand{
		what: "an upload",
		ns:   ns,
		prepare: func() *source {
			all = append(all, t.source(t.errandSize()))
			return all[len(all)-1]
		},
		do: func(w wired, s *source) error { return t.upload(t.ctx, w, s) },
		after: func(s *source, err error) {
			t.wholeOr(direct, s, core.ErrNotFound)
			again := sourceOf(s.draft.ID, s.draft.Created, s.content)
			if err != nil {
				if err := t.upload(t.ctx, direct, again); err != nil {
					t.fail("the same upload again succeeds", "%v", err)
				}
			}
			t.sameQuietly(direct, s)
		},
		end: func() {
			t.lists(direct, all...)
			t.once(ns, all)
		},
	}
}

// wholeOr demands that a backup is whole, or that Get answers with an error of a
// kind, and says whether it is whole.
func (t *trial) wholeOr(a core.Agent, s *source, gone core.ErrorKind) bool {
	if _, err := a.Get(t.ctx, s.draft.ID); err != nil {
		t.kind(err, gone)
		return false
	}
	t.sameQuietly(a, s)
	return true
}

// once demands that the place has one archive and one document of each, and no
// other.
func (t *trial) once(ns Namespace, all []*source) {
	var want []string
	for _, s := range all {
		want = append(want, s.draft.Archive, metaKey(s.draft.ID))
	}
	got := slices.DeleteFunc(t.keys(ns), func(k string) bool {
		return !strings.HasPrefix(k, "data/") && !strings.HasPrefix(k, "meta/")
	})
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.fail(fmt.Sprintf("one archive and one document of each of %d backups", len(all)), "%d objects", len(got))
	}
}

func (t *trial) keys(ns Namespace) []string {
	keys, err := t.target.Raw.List(t.ctx, ns)
	t.ok(err, "a raw list")
	return keys
}

// downloading reads a backup of several parts whole.
func (t *trial) downloading() errand {
	ns := t.place()
	stored := t.stored(t.open(ns), t.errandSize())
	return errand{
		what: "a read", ns: ns, prepare: func() *source { return stored },
		do: func(w wired, s *source) error {
			got, err := t.whole(w, s.draft.ID)
			if err == nil && (got.size != s.size || got.sum != s.seal().SHA256) {
				t.fail("the bytes that were uploaded, or an error", "%d of %d bytes, others, and no error", got.size, s.size)
			}
			return err
		},
	}
}

// listing lists two pages and one entry.
func (t *trial) listing() errand { return t.listingOf(2*max(t.target.Limits.Page, 1) + 1) }

// listingOf lists n entries. What comes is right, and is all or is followed by an
// error.
func (t *trial) listingOf(n int) errand {
	ns := t.place()
	all := t.plant(ns, t.open(ns), n)
	return errand{
		what: fmt.Sprintf("a list of %d", len(all)), ns: ns, prepare: func() *source { return nil },
		do: func(w wired, _ *source) error {
			entries := t.entries(w)
			t.saysSo(entries, all)
			for _, e := range entries {
				if e.err != nil {
					return e.err
				}
			}
			return nil
		},
	}
}

// deleting deletes a small backup, which is then whole or gone.
func (t *trial) deleting() errand {
	ns := t.place()
	direct := t.open(ns)
	return errand{
		what: "a delete", ns: ns,
		prepare: func() *source {
			s := t.source(100)
			if err := t.upload(t.ctx, direct, s); err != nil {
				t.fail("the upload succeeds", "%v", err)
			}
			return s
		},
		do: func(w wired, s *source) error { return w.Delete(t.ctx, s.draft.ID) },
		after: func(s *source, err error) {
			if t.wholeOr(direct, s, core.ErrNotFound) && err == nil {
				t.fail("a backup whose delete succeeded is gone", "it is there")
			}
		},
	}
}

// requests is how many requests an errand makes that match.
func (t *trial) requests(e errand, match func(fault.Request) bool) int {
	w := t.wired(e.ns, steady)
	s := e.prepare()
	if err := e.do(w, s); err != nil {
		t.fail(e.what+" succeeds", "%v", err)
	}
	if e.after != nil {
		e.after(s, nil)
	}
	return w.proxy.Counts().Of(match)
}

func anyRequest(fault.Request) bool { return true }

// A strike is a fault at the k-th of the requests that match.
type strike struct {
	k     int
	fault fault.Fault
}

// strikes are each of some faults at the requests of an errand that match: at every
// one, or at a few where the run is short.
func (t *trial) strikes(e errand, match func(fault.Request) bool, faults ...fault.Fault) (all []strike) {
	total := t.requests(e, match)
	most := total
	if t.target.Short {
		most = max(1, 6/len(faults))
	}
	for _, k := range t.sample(total, most) {
		for _, f := range faults {
			all = append(all, strike{k, f})
		}
	}
	return all
}

// struck does an errand anew for each strike, and demands that it succeeds or ends
// with an error of a kind of may. A fault that fires at none of them is inconclusive.
func (t *trial) struck(e errand, match func(fault.Request) bool, faults []fault.Fault, may ...core.ErrorKind) {
	t.did("%s, with %v at every request in turn", e.what, faults)
	all := t.strikes(e, match, faults...)
	sources := make([]*source, len(all))
	for i := range all {
		sources[i] = e.prepare()
	}
	fired := make([]atomic.Bool, len(all))
	t.spread(len(all), func(i int) {
		w := t.wired(e.ns, steady)
		r := w.arm(&fault.Rule{Match: match, Skip: all[i].k, Fault: all[i].fault})
		err := e.do(w, sources[i])
		fired[i].Store(r.Fired() > 0)
		if err != nil && !slices.Contains(may, core.KindOf(err)) {
			t.fail(fmt.Sprintf("%s, with %v at request %d: it succeeds%s", e.what, all[i].fault, all[i].k, orOf(may)), "%v", err)
		}
		if e.after != nil {
			e.after(sources[i], err)
		}
	})
	for n, f := range faults {
		happened := false
		for i := n; i < len(all); i += len(faults) {
			happened = happened || fired[i].Load()
		}
		if !happened {
			t.inconclusive("fault: "+f.String(), "it happens", "it did not at any of %d requests of %s", len(all), e.what)
		}
	}
	if e.end != nil {
		e.end()
	}
}

func orOf(may []core.ErrorKind) string {
	if len(may) == 0 {
		return ""
	}
	return fmt.Sprintf(", or ends with an error of kind %q", may)
}
