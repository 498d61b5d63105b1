package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/core"
)

// Sections D and K on the wire: bytes that change on their way, and what goes on
// where something ended.
func wireBytes() []Case {
	const (
		verified = "Each part goes with a checksum that the server verifies where it can, and what was sent is compared with the checksums of the metadata before the commit."
		goesOn   = "Uploading an id again after an interruption goes on where the place stands."
		pinned   = "when that is replaced or removed underneath, Range answers ErrChanged or ErrNotFound, never bytes of another version."
	)
	wire := []Means{MeansWire, MeansRaw}
	return []Case{
		{
			ID: "D07", Words: "flip_in_request_body", Level: Short, Needs: wire, run: flipsUp, Clause: verified,
			Why: "memory, network cards and proxies flip bits; what was stored so is found out on the day of the restore",
		}, {
			ID: "D08", Words: "flip_in_response_body", Level: Short, Needs: wire, run: flipsDown, Clause: clauseBytes,
			Why: "a bit that flips on the way back is in the application, unless somebody compares",
		}, {
			ID: "D09", Words: "clean_early_end", Level: Short, Needs: wire, run: earlyEnds, Clause: clauseBytes,
			Why: "an answer without its length that ends early ends in good form; half a file was taken for the file, and half a list for the list",
		}, {
			ID: "K01", Words: "upload_resume_after_kill", Level: Short, Needs: append(wire, MeansCrash), run: resumes, Clause: goesOn,
			Why: "an upload that begins anew each night, over a line that breaks each night, is never done",
		}, {
			ID: "K02", Words: "changed_source", Level: Short, Needs: []Means{MeansRaw}, run: changedSource, Clause: goesOn,
			Why: "parts of yesterday's file and parts of today's were put together to one that never was",
		}, {
			ID: "K03", Words: "changed_object", Level: Short, Needs: wire, run: changedObject, Clause: pinned,
			Why: "a download that was resumed after the object was replaced was half of the one and half of the other",
		}, {
			ID: "K04", Words: "range_ignored", Level: Short, Needs: wire, run: rangeIgnored,
			Clause: "Range returns exactly n bytes from off; n < 0 means to the end.",
			Why:    "a proxy that knows no ranges answered with the whole, and it was appended to what was there",
		},
	}
}

// flipsUp flips a bit of each body that is sent. The server refuses it, the agent
// sends it again or says so, and what is stored is right.
func flipsUp(t *trial) {
	half := t.middle()
	t.struck(t.uploading(), hasBody, []fault.Fault{fault.FlipUp(0), fault.FlipUp(half), fault.FlipUp(-1)},
		core.ErrUnavailable, core.ErrDamaged, core.ErrChanged, core.ErrInvalid, core.ErrUnsupported)
}

// flipsDown flips a bit of archives and of metadata on their way back.
func flipsDown(t *trial) {
	half := t.middle()
	flips := []fault.Fault{fault.FlipDown(0), fault.FlipDown(half), fault.FlipDown(-1)}
	t.struck(t.downloading(), readsArchive, flips, core.ErrDamaged, core.ErrUnavailable)
	// A name may have one letter or the other: nothing but a checksum tells.
	e := t.getting()
	inName := int64(bytes.Index(e.prepare().document(t), []byte("backup of")))
	t.struck(e, reads, []fault.Fault{fault.FlipDown(inName), fault.FlipDown(-1)}, core.ErrDamaged, core.ErrUnavailable)
}

// document is the metadata as it is stored.
func (s *source) document(t *trial) []byte {
	doc, err := s.stored().Encode()
	t.ok(err, "a document")
	return doc
}

// getting is a Get, whose result is right.
func (t *trial) getting() errand {
	ns := t.place()
	stored := t.stored(t.open(ns), 1000)
	return errand{
		what: "a Get", ns: ns, prepare: func() *source { return stored },
		do: func(w wired, s *source) error {
			b, err := w.Get(t.ctx, s.draft.ID)
			if err == nil {
				t.equal(s.stored(), b, "a Get without an error")
			}
			return err
		},
	}
}

// earlyEnds ends answers early in good form, once and for ever.
func earlyEnds(t *trial) {
	half := t.middle()
	ends := []fault.Fault{fault.EndDown(0), fault.EndDown(1), fault.EndDown(half), fault.EndDown(-1)}
	may := []core.ErrorKind{core.ErrUnavailable, core.ErrDamaged}
	t.struck(t.downloading(), reads, ends, may...)
	t.struck(t.getting(), reads, []fault.Fault{fault.EndDown(0), fault.EndDown(-1)}, may...)
	broken := fault.Rewrite(t.target.Wire.BadPages[BrokenPage])
	t.struck(t.listing(), t.target.Wire.Page, []fault.Fault{fault.EndDown(0), fault.EndDown(-1), broken}, may...)
	e := t.downloading()
	w, s := t.wired(e.ns, hasty), e.prepare()
	r := w.arm(&fault.Rule{Match: readsArchive, Times: fault.Always, Fault: fault.EndDown(0)})
	t.did("a read, of which every answer ends before its first byte")
	err := t.ending("a read", most("Open", hasty), func(ctx context.Context) error { return t.call(w, ctx, "Open", s) })
	t.fired(r, "at a read")
	t.kind(err, may...)
}

// resumes kills an upload in parts, and counts what the next one of the same sends.
// It remembers nothing: the place alone knows what there is.
func resumes(t *trial) {
	ns := t.place()
	part, flying := t.target.Limits.PartSize, int64(t.target.Limits.InFlight)
	s := t.source((2*flying + 6) * part)
	read := (2*flying + 4) * part // when it is killed
	first := t.proxied(fault.Options{})
	t.kill(task{
		Namespace: ns, ID: s.draft.ID, Created: s.draft.Created, Seed: s.seed, Size: s.size,
		Byte: read, Step: -1, State: t.dir + "/killed", Address: first.Addr(),
	})
	before := first.Counts().Up
	if least := (flying + 2) * part; before < least {
		t.inconclusive("wire: parts", fmt.Sprintf("%d bytes are sent when %d are read", least, read), "%d were", before)
	}
	before = min(before, read) // a part may have been sent twice, and is one part
	t.absent(t.open(ns), s.draft.ID)
	w := t.wired(ns, steady)
	t.did("the same upload again, which remembers nothing, with %d parts on their way at most", flying)
	t.store(w, s)
	t.same(t.open(ns), s)
	others := int64(64 << 10) // metadata, and what else has a body
	if t.target.Wire.opaque() {
		others += s.size / 50 // all that the protocol needs is counted
	}
	if sent, most := w.proxy.Counts().Up, s.size-before+flying*part+others; sent > most {
		t.fail("the second upload sends what the first did not, and the parts that were on their way",
			"%d parts of %d, where %d were sent before", sent/part, s.size/part, before/part)
	}
	t.clean(ns, t.open(ns), s)
}

// changedSource interrupts an upload, and uploads other bytes under its id.
func changedSource(t *trial) {
	part := t.target.Limits.PartSize
	if t.target.Short && part > largePart {
		part = 1 << 20
	}
	size := 3*part + part/2
	for _, c := range []struct {
		what string
		make func(s *source) *source
	}{
		{"a bit of its first part is another", func(s *source) *source { return s.patched(1) }},
		{"a bit of its third part is another", func(s *source) *source { return s.patched(2*part + 1) }},
		{"its last bit is another", func(s *source) *source { return s.patched(s.size - 1) }},
		{"it is a byte longer", func(s *source) *source { return s.resized(s.size + 1) }},
		{"it is a part longer", func(s *source) *source { return s.resized(s.size + part) }},
		{"it is half as long", func(s *source) *source { return s.resized(s.size / 2) }},
	} {
		t.changedTo(c.what, t.source(size), part, c.make)
	}
}

func (t *trial) changedTo(what string, s *source, part int64, change func(*source) *source) {
	ns := t.place()
	reached, release := s.holdAt(3 * part)
	defer release()
	arrived := make(chan struct{})
	go func() {
		defer close(arrived)
		until(t, "the agent reads so far", reached)
		t.arrival(ns)
	}()
	t.did("an upload is interrupted after three parts; then %s", what)
	t.cancelled(t.open(ns), s, arrived)
	left, err := t.target.Raw.Leftovers(t.ctx, ns)
	t.ok(err, "a raw list of leftovers")
	if len(left) == 0 {
		t.inconclusive("parts", "parts that a later upload goes on with", "none")
	}
	a, changed := t.open(ns), change(s)
	if err := t.upload(t.ctx, a, changed); err != nil {
		t.kind(err, core.ErrChanged, core.ErrExists)
		t.absent(a, s.draft.ID)
		return
	}
	t.same(a, changed)
}

// arrival waits until parts are at a place, those that are on their way included, as
// far as a machine gets in some seconds.
func (t *trial) arrival(ns Namespace) {
	for range 50 {
		left, err := t.target.Raw.Leftovers(t.ctx, ns)
		t.idle()
		if err != nil || len(left) > 0 {
			return
		}
	}
}

// patched is a source of the same id with one bit changed.
func (s *source) patched(off int64) *source {
	other := sourceOf(s.draft.ID, s.draft.Created, s.content)
	other.truth = patch{s.content, off}
	return other
}

// resized is a source of the same id that is cut, or goes on.
func (s *source) resized(size int64) *source {
	return sourceOf(s.draft.ID, s.draft.Created, content{s.seed, size})
}

// A patch is content with one bit changed.
type patch struct {
	content
	off int64
}

func (p patch) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.content.ReadAt(b, off)
	if at := p.off - off; at >= 0 && at < int64(n) {
		b[at] ^= 1
	}
	return n, err
}

// changedObject replaces an archive while a range of it is being read, whose answer
// then breaks off: the agent must not read on in another version. The range covers
// no chunk, so that no checksum tells.
func changedObject(t *trial) {
	ns := t.place()
	s := t.stored(t.open(ns), t.severalParts())
	w := t.wired(ns, steady)
	archive, err := w.Open(t.ctx, s.draft.ID)
	if err != nil {
		t.fail("Open", "%v", err)
	}
	defer t.close(archive, "Archive.Close")
	const off = 1
	n := s.size - 2
	r := w.arm(&fault.Rule{Match: readsArchive, Fault: fault.ResetDown(n / 2)})
	in, err := archive.Range(t.ctx, off, n)
	if err != nil {
		t.fail("Range", "%v", err)
	}
	defer t.close(in, "Close of a range")
	got := make([]byte, n)
	_, err = io.ReadFull(in, got[:1000])
	t.ok(err, "the first bytes of a range")
	if asked := w.proxy.Counts().Of(readsArchive); asked != 1 {
		t.inconclusive("wire: one request", "a range that is read with one request", "%d", asked)
	}
	t.tamper(ns, s, func([]byte) []byte { return make([]byte, s.size) })
	t.did("an archive is replaced by zeros while a range of it is read, whose answer is reset in the middle")
	more, err := io.ReadFull(in, got[1000:])
	if w.proxy.Counts().Of(readsArchive) == 1 { // a server may have broken off by itself
		t.fired(r, "at a read")
	}
	if want := s.sumOf(off, 1000+int64(more)); sumOf(got[:1000+more]) != want {
		t.fail("bytes of one version", "bytes of two, and then: %v", err)
	}
	if err != nil {
		t.kind(err, core.ErrChanged, core.ErrNotFound)
	}
}

// rangeIgnored answers a request for a range with the whole: the first one, and one
// that reads on where another broke off.
func rangeIgnored(t *trial) {
	ns := t.place()
	s := t.stored(t.open(ns), t.severalParts())
	off, n := s.size/4, s.size/2
	for _, c := range []struct {
		what string
		also []*fault.Rule
	}{
		{"a range", nil},
		{"a range that broke off in the middle, and is read on", []*fault.Rule{{Match: readsArchive, Fault: fault.ResetDown(n / 2)}}},
	} {
		for _, times := range []int{1, fault.Always} {
			w := t.wired(ns, hasty)
			ignored := &fault.Rule{Match: readsArchive, Times: times, Fault: fault.Unranged(s.bytes())}
			w.proxy.Arm(append(slices.Clone(c.also), ignored)...)
			t.did("%s: it is answered with the whole archive", c.what)
			size, sum, err := t.spanOf(w, s.draft.ID, off, n)
			t.fired(ignored, "at a read")
			switch {
			case err != nil:
				t.kind(err, core.ErrUnavailable, core.ErrUnsupported, core.ErrChanged, core.ErrDamaged)
			case size != n || sum != s.sumOf(off, n):
				t.fail(fmt.Sprintf("%d bytes from %d, or an error", n, off), "%d bytes, others, and no error", size)
			}
		}
	}
}

// spanOf opens an archive and reads one range of it.
func (t *trial) spanOf(a core.Agent, id core.ID, off, n int64) (int64, string, error) {
	archive, err := a.Open(t.ctx, id)
	if err != nil {
		return 0, "", err
	}
	size, sum, err := t.span(archive, off, n)
	return size, sum, errors.Join(err, archive.Close())
}
