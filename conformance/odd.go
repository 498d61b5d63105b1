package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/offsite-backup/offsite/core"
)

// Section A, its second half: odd callers.
func odd() []Case {
	return []Case{
		{
			ID: "A03", Words: "odd_readers", Level: Short, run: oddReaders,
			Clause: "Its Size is for planning only: the size where that is known, else the most that is expected, else 0.",
			Why:    "a backup read while it is being written has no size yet; who trusts the guess cuts it",
		}, {
			ID: "A09", Words: "reader_untouched", Level: Short, run: readerUntouched,
			Clause: "The agent reads src as its contract says and neither closes nor keeps it.",
			Why:    "other agents read the same source: one that closes it makes them all fail",
		}, {
			ID: "A10", Words: "sink_error", Level: Short, run: sinkError,
			Clause: "The caller closes the reader; closing it early does not fetch the rest.",
			Why:    "a full disk at the restore must be said as it is, and must not look like success",
		}, {
			ID: "A11", Words: "constructor_context", Level: Short, run: constructorContext,
			Clause: "The constructor's context bounds the constructor. It may end without harm to the agent.",
			Why:    "programs open agents with a time limit; the agent must not die of it in the night",
		}, {
			ID: "A12", Words: "honest_abilities", Level: Short, Needs: []Means{MeansRaw}, run: honest,
			Clause: "Sweep yields each leftover: parts of an upload that was not finished, an archive without metadata, a gone mark older than a year.",
			Why:    "an ability that does nothing and says nothing fills places with what nobody sees",
		}, {
			ID: "A13", Words: "no_aliasing", Level: Short, run: noAliasing,
			Clause: "What a call returns is the caller's to change, and what it was given is not kept.",
			Why:    "who changes a map that was returned must not change what the next caller gets",
		},
	}
}

// exactEnd reads like content, and gives io.EOF only when nothing was read.
type exactEnd struct{ content }

func (e exactEnd) ReadAt(p []byte, off int64) (int, error) {
	n, err := e.content.ReadAt(p, off)
	if n == len(p) {
		err = nil
	}
	return n, err
}

func oddReaders(t *trial) {
	a := t.open(t.place())
	const size = 200_000
	odds := []struct {
		what string
		make func(*source)
	}{
		{"whose size is not known", func(s *source) { s.draft.Size = 0 }},
		{"that was expected to be ten times as large", func(s *source) { s.draft.Size = 10 * size }},
		{"that was expected to be half as large", func(s *source) { s.draft.Size = size / 2 }},
		{"that says io.EOF only past its end", func(s *source) { s.gives = exactEnd{s.content} }},
		{"without checksums of chunks", func(s *source) {
			with := s.prepare
			s.prepare = func(s *source) { with(s); s.sealed.Chunks = core.Chunks{} }
		}},
		{"that is written while it is read", func(s *source) { s.grow(t.ctx) }},
	}
	for _, o := range odds {
		s := t.source(size)
		o.make(s)
		t.did("a source %s", o.what)
		t.store(a, s)
		t.same(a, s)
	}
}

// grow lets bytes exist step by step, and the metadata after them.
func (s *source) grow(ctx context.Context) {
	s.draft.Size = 0
	steps := make(chan int64)
	go func() {
		defer close(steps)
		for end := int64(0); end < s.size; end += 10_000 {
			select {
			case steps <- end:
			case <-ctx.Done():
				return
			}
		}
	}()
	var mu sync.Mutex
	written := int64(0)
	s.before = func(ctx context.Context, end int64) error {
		mu.Lock()
		defer mu.Unlock()
		for written < min(end, s.size) {
			next, ok := <-steps
			if !ok {
				written = s.size
				break
			}
			written = next
		}
		return context.Cause(ctx)
	}
	s.sealing = func(ctx context.Context) error { return s.before(ctx, s.size) }
}

func readerUntouched(t *trial) {
	a := t.open(t.place())
	s := t.stored(a, 100_000)
	failing := t.source(100_000)
	broken := errors.New("the source breaks")
	failing.before = func(_ context.Context, end int64) error {
		if end > 50_000 {
			return broken
		}
		return nil
	}
	t.did("upload whose source breaks")
	if err := t.upload(t.ctx, a, failing); !errors.Is(err, broken) {
		t.fail("the source's error", "%v", err)
	}
	t.closeAll()
	for _, s := range []*source{s, failing} {
		if s.touched.Load() {
			t.fail("a source is only read", "it was closed or sought")
		}
		if s.late.Load() {
			t.fail("nothing reads a source after Upload has returned", "it was read")
		}
	}
}

// fullSink takes n bytes and then fails.
type fullSink struct {
	n   int
	err error
}

func (s *fullSink) Write(p []byte) (int, error) {
	if len(p) > s.n {
		n := s.n
		s.n = 0
		return n, s.err
	}
	s.n -= len(p)
	return len(p), nil
}

func sinkError(t *trial) {
	a := t.open(t.place())
	s := t.stored(a, 300_000)
	archive, err := a.Open(t.ctx, s.draft.ID)
	if err != nil {
		t.fail("Open", "%v", err)
	}
	for _, room := range []int{0, 1, 100_000} {
		t.did("copy to a sink that is full after %d bytes", room)
		r, err := archive.Range(t.ctx, 0, -1)
		if err != nil {
			t.fail("Range", "%v", err)
		}
		full := errors.New("the sink is full")
		if _, err := io.Copy(&fullSink{room, full}, r); err != full { // verbatim
			t.fail("the sink's own error", "%v", err)
		}
		t.within("closing the reader early", func() { t.close(r, "Close of a range") })
	}
	t.close(archive, "Archive.Close")
	t.same(a, s)
}

func constructorContext(t *trial) {
	ns := t.place()
	ctx, cancel := context.WithCancel(t.ctx)
	a := t.opened(t.target.Open(ctx, ns, t.env()))
	s := t.stored(a, 100)
	t.did("the context of Open ends")
	cancel()
	t.same(a, s)
	t.same(a, t.stored(a, 100_000))
	t.get(a, s.draft.ID)
}

func honest(t *trial) {
	ns := t.place()
	a := t.open(ns)
	t.sweeper(a)
	t.did("sweep of a place that is not there yet")
	if all := t.sweep(a, every); len(all) > 0 {
		t.fail("no leftovers", "%+v", all[0])
	}
	kept, lost := t.stored(a, 100), t.source(50)
	t.raw(ns, lost.draft.Archive, lost.reader())
	t.did("sweep with an archive that has no metadata, of an upload that another host may go on with")
	t.leftover(t.sweep(a, nil), lost.draft.ID, false)
	t.did("sweep, where this host says that the upload is over")
	t.leftover(t.sweep(a, every), lost.draft.ID, true)
	if _, err := t.target.Raw.Get(t.ctx, ns, lost.draft.Archive); err == nil {
		t.fail("what the sweep says that it removed is not there", "%s", lost.draft.Archive)
	}
	t.same(a, kept)
}

func (t *trial) leftover(all []core.Leftover, id core.ID, removed bool) {
	for _, l := range all {
		if l.ID != id {
			t.fail("only the archive without metadata is a leftover", "%+v", l)
		}
		if l.Removed != removed || l.What != "archive" || l.Size != 50 {
			t.fail(fmt.Sprintf("an archive of 50 bytes, removed: %v", removed), "%q of %d bytes, removed: %v", l.What, l.Size, l.Removed)
		}
	}
	if len(all) != 1 {
		t.fail("the archive without metadata is a leftover", "%d leftovers", len(all))
	}
}

func noAliasing(t *trial) {
	a := t.open(t.place())
	s := t.source(10)
	s.draft.Tags = core.Tags{"kept": "yes"}
	s.draft.Extra = core.Extra{"kept": []byte(`"yes"`)}
	s.draft.Recipients = []string{"one"}
	t.store(a, s)
	want := s.stored()
	t.did("changing what was passed and what was returned")
	spoil := func(b core.Backup) {
		b.Tags["kept"] = "no"
		b.Extra["kept"] = []byte(`"no"`)
		b.Recipients[0] = "two"
		if doc, err := b.Encode(); err == nil {
			clear(doc)
		}
		clear(b.Chunks.CRC64NVME)
	}
	spoil(s.handed)
	spoil(t.get(a, want.ID))
	spoil(t.list(a)[0])
	archive, err := a.Open(t.ctx, want.ID)
	if err != nil {
		t.fail("Open", "%v", err)
	}
	spoil(archive.Backup())
	t.close(archive, "Archive.Close")
	t.equal(want, t.get(a, want.ID), "Get the second time")
	t.equal(want, t.list(a)[0], "List the second time")
}

// everyCall makes each call of an agent and yields its name and error.
func (t *trial) everyCall(a core.Agent, ctx context.Context, id core.ID, s *source) iter.Seq2[string, error] {
	calls := map[string]func() error{
		"Upload": func() error { return t.upload(ctx, a, s) },
		"Get":    func() error { _, err := a.Get(ctx, id); return err },
		"Delete": func() error { return a.Delete(ctx, id) },
		"List": func() error {
			for _, err := range a.List(ctx) {
				return err
			}
			return nil
		},
		"Open": func() error {
			archive, err := a.Open(ctx, id)
			if err != nil {
				return err
			}
			return archive.Close()
		},
	}
	if sw, ok := a.(core.Sweeper); ok {
		calls["Sweep"] = func() error {
			for _, err := range sw.Sweep(ctx, nil) {
				return err
			}
			return nil
		}
	}
	return func(yield func(string, error) bool) {
		for _, name := range []string{"Upload", "Get", "Open", "List", "Sweep", "Delete"} {
			if call, ok := calls[name]; ok && !yield(name, call()) {
				return
			}
		}
	}
}

// raw puts bytes through the back door.
func (t *trial) raw(ns Namespace, key string, r io.Reader) {
	var b bytes.Buffer
	_, err := b.ReadFrom(r)
	t.ok(err, "bytes")
	t.ok(t.target.Raw.Put(t.ctx, ns, key, b.Bytes()), "raw put of "+key)
}

func metaKey(id core.ID) string { return "meta/" + string(id) + ".json" }
