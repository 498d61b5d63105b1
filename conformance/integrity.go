package conformance

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// Section D, without the wire: bytes that change at the place.
func integrity() []Case {
	const silent = "Bytes that come back altered, short or long are an error of kind ErrDamaged or ErrChanged, never a short success."
	return []Case{
		{
			ID: "D01", Words: "flip_at_rest", Level: Short, Needs: []Means{MeansRaw}, run: flip, Clause: silent,
			Why: "disks flip bits; a restore that says nothing puts them into the application",
		}, {
			ID: "D02", Words: "cut", Level: Short, Needs: []Means{MeansRaw}, run: cut, Clause: silent,
			Why: "files were cut at a block by a full disk, and were restored as they were",
		}, {
			ID: "D03", Words: "grow", Level: Short, Needs: []Means{MeansRaw}, run: grown, Clause: silent,
			Why: "an archive with bytes behind its end is not the one that was stored",
		}, {
			ID: "D04", Words: "swap", Level: Short, Needs: []Means{MeansRaw}, run: swapped, Clause: silent,
			Why: "a checksum that is kept with the object goes with it when objects are mixed up",
		}, {
			ID: "D05", Words: "part_order", Level: Core, run: partOrder,
			Clause: "Each part goes with a checksum that the server verifies where it can, and what was sent is compared with the checksums of the metadata before the commit.",
			Why:    "parts that end in another order than they began were put together wrongly",
		}, {
			ID: "D06", Words: "wrong_hash", Level: Short, run: wrongHash,
			Clause: "A source that ends before the size of its metadata, goes on after it, or does not match its checksums answers ErrChanged.",
			Why:    "what is stored under a hash that is not its own can never be verified",
		}, {
			ID: "D11", Words: "gzip", Level: Short, run: gzipped,
			Clause: "Range returns exactly n bytes from off; n < 0 means to the end.",
			Why:    "clients unpack what looks like gzip on its way, and hash and size are of other bytes",
		},
	}
}

// tamper changes the stored archive through the back door.
func (t *trial) tamper(ns Namespace, s *source, change func([]byte) []byte) {
	data, err := t.target.Raw.Get(t.ctx, ns, s.draft.Archive)
	t.ok(err, "raw get of an archive")
	t.raw(ns, s.draft.Archive, bytesReader(change(bytes.Clone(data))))
}

func flip(t *trial) {
	ns := t.place()
	a := t.open(ns)
	const two = 16<<20 + 1000 // chunks
	flips := map[int64][]int64{1000: {0, 500, 999}, 300_000: {0, 150_000, 299_999}, two: {two - 1}}
	for _, size := range []int64{1000, 300_000, two} {
		if t.target.Short && size == two {
			continue
		}
		for _, off := range flips[size] {
			s := t.stored(a, size)
			t.same(a, s)
			t.tamper(ns, s, func(b []byte) []byte { b[off] ^= 0x10; return b })
			t.did("one bit is flipped %s", at(off, size))
			t.wrong(a, s.draft.ID, core.ErrDamaged, core.ErrChanged)
			t.chunk(a, s, off)
		}
	}
}

// chunk reads the one chunk that has a flipped byte, which must not be readable.
func (t *trial) chunk(a core.Agent, s *source, off int64) {
	size := s.seal().Chunks.Size
	begin := off / size * size
	n := min(size, s.size-begin)
	archive, err := a.Open(t.ctx, s.draft.ID)
	if err != nil {
		t.kind(err, core.ErrDamaged)
		return
	}
	defer t.close(archive, "Archive.Close")
	t.did("range of the chunk with it, %d bytes from %d", n, begin)
	_, _, err = t.span(archive, begin, n)
	t.kind(err, core.ErrDamaged, core.ErrChanged)
}

func cut(t *trial) {
	ns := t.place()
	a := t.open(ns)
	const size = 200_000
	kept := t.stored(a, size)
	var others []*source
	for _, left := range []int64{size - 1, size / 2, 0} {
		s := t.stored(a, size)
		t.tamper(ns, s, func(b []byte) []byte { return b[:left] })
		t.did("the archive of %d bytes is cut to %d", size, left)
		t.damaged(a, s.draft.ID, append(others, kept)...)
		if err := a.Delete(t.ctx, s.draft.ID); err != nil {
			t.fail("what is damaged is removed", "%v", err)
		}
	}
	t.pinned(ns, a, kept)
}

// pinned cuts an archive that is open.
func (t *trial) pinned(ns Namespace, a core.Agent, s *source) {
	archive, err := a.Open(t.ctx, s.draft.ID)
	if err != nil {
		t.fail("Open", "%v", err)
	}
	defer t.close(archive, "Archive.Close")
	t.tamper(ns, s, func(b []byte) []byte { return b[:len(b)/2] })
	t.did("an archive is cut in half after it was opened")
	got, _, err := t.span(archive, 0, -1)
	if err == nil {
		t.fail("an error", "%d bytes and no error", got)
	}
	t.kind(err, core.ErrDamaged, core.ErrChanged)
}

func grown(t *trial) {
	ns := t.place()
	a := t.open(ns)
	for _, more := range []string{"x", strings.Repeat("more", 10_000)} {
		s := t.stored(a, 1000)
		t.tamper(ns, s, func(b []byte) []byte { return append(b, more...) })
		t.did("the archive of 1000 bytes got %d more", len(more))
		t.damaged(a, s.draft.ID)
		if err := a.Delete(t.ctx, s.draft.ID); err != nil {
			t.fail("what is damaged is removed", "%v", err)
		}
	}
}

func swapped(t *trial) {
	ns := t.place()
	a := t.open(ns)
	one, two := t.stored(a, 100_000), t.stored(a, 100_000)
	t.tamper(ns, one, func([]byte) []byte { b, _ := readAll(two); return b })
	t.tamper(ns, two, func([]byte) []byte { b, _ := readAll(one); return b })
	t.did("the archives of two backups of equal size are exchanged")
	for _, s := range []*source{one, two} {
		t.wrong(a, s.draft.ID, core.ErrDamaged, core.ErrChanged)
	}
}

func readAll(s *source) ([]byte, error) {
	var b bytes.Buffer
	_, err := b.ReadFrom(s.reader())
	return b.Bytes(), err
}

func partOrder(t *trial) {
	ns := t.place()
	a := t.open(ns)
	if t.target.OpenFaulty != nil {
		a = t.openFaulty(ns, t.slowWrites())
	}
	s := t.stored(a, 4*t.target.Limits.PartSize+1)
	t.same(a, s)
	t.same(t.open(ns), s)
}

// slowWrites holds some writes up, so that others pass them.
func (t *trial) slowWrites() Gate {
	holds := make(chan time.Duration, 64)
	for range cap(holds) {
		holds <- time.Duration(t.random.IntN(20)) * time.Millisecond
	}
	return func(s Step) Fault {
		if s.Op != StepWrite {
			return NoFault
		}
		select {
		case d := <-holds:
			timer := time.NewTimer(d)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-t.ctx.Done():
			}
		default:
		}
		return NoFault
	}
}

func wrongHash(t *trial) {
	a := t.open(t.place())
	wrongs := []struct {
		what string
		make func(b *core.Backup)
	}{
		{"SHA-256", func(b *core.Backup) { b.SHA256 = strings.Repeat("0", 64) }},
		{"checksum of a chunk", func(b *core.Backup) { b.Chunks.CRC64NVME[0]++ }},
	}
	for _, w := range wrongs {
		s := t.source(100_000)
		right := s.prepare
		s.prepare = func(s *source) { right(s); w.make(&s.sealed) }
		t.did("metadata with another %s than the bytes have", w.what)
		t.kind(t.upload(t.ctx, a, s), core.ErrChanged)
		t.absent(a, s.draft.ID)
	}
	for what, change := range map[string]func(b *core.Backup){
		"id":      func(b *core.Backup) { b.ID += "x"; b.Archive = "data/" + string(b.ID) + ".tar.zst" },
		"archive": func(b *core.Backup) { b.Archive = "data/" + string(b.ID) + ".zip" },
	} {
		s := t.source(1000)
		right := s.prepare
		s.prepare = func(s *source) { right(s); change(&s.sealed) }
		t.did("metadata with another %s than the draft has", what)
		t.kind(t.upload(t.ctx, a, s), core.ErrChanged, core.ErrInvalid)
		t.absent(a, s.draft.ID)
	}
	t.lists(a)
}

func gzipped(t *trial) {
	a := t.open(t.place())
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = fmt.Fprint(w, strings.Repeat("what looks packed comes back packed. ", 10_000)) // to memory
	t.ok(w.Close(), "gzip")
	s := t.source(int64(b.Len()))
	s.truth = bytes.NewReader(b.Bytes())
	s.draft.Archive, s.draft.MediaType = "data/"+string(s.draft.ID)+".tgz", "application/gzip"
	t.did("an archive that is a gzip stream")
	t.store(a, s)
	t.same(a, s)
	t.lists(a, s)
}
