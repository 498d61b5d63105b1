package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"
)

// An assembler makes the tar stream out of items in their order, and frames out
// of that.
type assembler struct {
	ctx    context.Context
	loader *loader
	report func(Oddity)
	stats  Stats
	files  int64 // entries that are no directories

	cur   *frame // the one that is filled; nil before the first byte of the next
	spare int    // frames that may still be made
	free  chan *frame
	work  chan<- *frame // to be compressed
	out   chan<- *frame // the same in order
}

// run ends when there are no more items, with the end of the tar stream.
func (a *assembler) run(items <-chan *item) error {
	for it := range items {
		<-it.ready
		err := a.add(it)
		it.release()
		if err != nil {
			return err
		}
	}
	if err := a.write(zeros[:2*blockSize]); err != nil {
		return err
	}
	return a.flush()
}

// add archives one item.
func (a *assembler) add(it *item) error {
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	first, again := linked{}, false
	if it.id != (identity{}) {
		if first, again = a.loader.links.meet(it.id); !again && it.opened == nil {
			// It was not read because the first of its names was in the archive; by
			// now all that it had were met, and this is one more.
			a.loader.regular(it)
		}
	}
	for _, o := range it.odds {
		a.tell(o)
	}
	switch {
	case it.skip:
		return nil
	case again:
		return a.again(it, first)
	case it.header.kind == typeRegular:
		return a.regular(it)
	}
	return a.entry(it, Entry{Link: it.header.link}, nil)
}

func (a *assembler) tell(o Oddity) {
	a.stats.Odd++
	if o.Lost {
		a.stats.Lost++
	}
	if a.report != nil {
		a.report(o)
	}
}

// again archives one more name of a file that is in the archive.
func (a *assembler) again(it *item, first linked) error {
	it.header.kind, it.header.link, it.header.size = typeHardLink, first.name, 0
	return a.entry(it, Entry{Link: first.name, Size: first.size, SHA256: first.sum}, nil)
}

func (a *assembler) regular(it *item) error {
	e := Entry{Size: it.header.size, SHA256: it.sum}
	body := func() error { return a.write(it.content) }
	if it.file != nil {
		if it.holes != nil {
			it.header.sparse, it.header.size = it.holes, it.holes.stored()
		}
		body = func() (err error) {
			e.SHA256, err = a.stream(it)
			return err
		}
	}
	stored := it.header.size
	if stored >= frameSize {
		if err := a.flush(); err != nil {
			return err
		}
	}
	a.stats.ContentSize += e.Size
	return a.entry(it, e, func() (Entry, error) {
		err := body()
		if err == nil {
			err = a.write(zeros[:padding(stored)])
		}
		if err == nil && it.id != (identity{}) {
			left := statOf(it.opened).links - 1
			a.loader.links.add(it.id, linked{name: it.name, size: e.Size, sum: e.SHA256, left: left})
		}
		return e, err
	})
}

// entry writes one entry, its content by body, which knows by then what e lacks.
func (a *assembler) entry(it *item, e Entry, body func() (Entry, error)) error {
	h := it.header.append(nil)
	if a.cur != nil && len(a.cur.content) == frameSize {
		if err := a.flush(); err != nil {
			return err
		}
	}
	if err := a.room(); err != nil {
		return err
	}
	a.cur.begins = append(a.cur.begins, int64(len(a.cur.content)))
	err := a.write(h)
	if err == nil && body != nil {
		e, err = body()
	}
	if err != nil {
		return err
	}
	e.Name, e.Mode, e.ModTime = it.name, it.header.mode, it.header.mtime
	e.UID, e.GID = it.header.uid, it.header.gid
	a.cur.ends = append(a.cur.ends, e)
	a.stats.Entries++
	if it.header.kind != typeDir {
		a.files++
	}
	return nil
}

// stream writes the data of a file that was not read ahead and returns the
// SHA-256 of its content, holes included, as far as it is in the archive. What
// the file lacks by now is filled with zeros, since the header told its size.
func (a *assembler) stream(it *item) (string, error) {
	size := it.opened.Size()
	parts := []extent{{0, size}}
	if it.holes != nil {
		parts = it.holes.extent
	}
	r := reading{sum: sha256.New(), file: it.file}
	for _, part := range parts {
		if err := r.hole(a.ctx, part.off); err != nil {
			return "", err
		}
		for end := part.off + part.size; r.pos < end; {
			if err := a.room(); err != nil {
				return "", err
			}
			c := a.cur.content
			b := c[len(c):min(int64(cap(c)), int64(len(c))+end-r.pos)]
			r.read(b)
			a.cur.content = c[:len(c)+len(b)]
		}
	}
	if err := r.hole(a.ctx, size); err != nil {
		return "", err
	}
	a.judge(it, &r)
	return hex.EncodeToString(r.sum.Sum(nil)), nil
}

// judge tells what was odd about reading a file.
func (a *assembler) judge(it *item, r *reading) {
	if r.err != nil && r.err != io.EOF {
		a.tell(Oddity{Path: it.path(), What: unreadable, Lost: true, Err: fmt.Errorf("zeros from byte %d of %d on: %w", r.good, it.opened.Size(), r.err)})
		return
	}
	n := it.opened.Size()
	if r.err != nil {
		n = r.good
	}
	if o, odd := it.after(n); odd {
		a.tell(o)
	}
}

// A reading is how far a file is read and hashed.
type reading struct {
	file io.ReaderAt
	sum  hash.Hash
	pos  int64
	good int64 // the position up to which it was read well, once err is set
	err  error // what ended it; nothing is read after that
}

// read fills b with what follows in the file, or with zeros.
func (r *reading) read(b []byte) {
	n := 0
	if r.err == nil {
		n, r.err = r.file.ReadAt(b, r.pos)
		if n == len(b) {
			r.err = nil // of the next byte, if anything
		}
		r.good = r.pos + int64(n)
	}
	clear(b[n:])
	r.sum.Write(b)
	r.pos += int64(len(b))
}

// hole hashes the zeros up to an offset.
func (r *reading) hole(ctx context.Context, end int64) error {
	for r.pos < end {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := min(end-r.pos, int64(len(zeros)))
		r.sum.Write(zeros[:n])
		r.pos += n
	}
	return nil
}

// write adds to the tar stream.
func (a *assembler) write(b []byte) error {
	for len(b) > 0 {
		if err := a.room(); err != nil {
			return err
		}
		n := min(len(b), frameSize-len(a.cur.content))
		a.cur.content = append(a.cur.content, b[:n]...)
		b = b[n:]
	}
	return nil
}

// room sees to it that the current frame can take at least one more byte. A full
// one goes on its way only now, so that an entry that ends with it is known to.
func (a *assembler) room() error {
	if a.cur != nil && len(a.cur.content) < frameSize {
		return nil
	}
	if err := a.flush(); err != nil {
		return err
	}
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	if a.spare > 0 {
		a.spare--
		a.cur = &frame{
			content: make([]byte, 0, frameSize),
			packed:  make([]byte, 0, frameSize+frameSize/64), // random bytes take a little more
			ready:   make(chan struct{}, 1),
		}
		return nil
	}
	select {
	case f := <-a.free:
		f.content, f.begins, f.ends = f.content[:0], f.begins[:0], f.ends[:0]
		a.cur = f
		return nil
	case <-a.ctx.Done():
		return context.Cause(a.ctx)
	}
}

// flush sends the current frame on its way.
func (a *assembler) flush() error {
	f := a.cur
	if f == nil {
		return nil
	}
	a.cur = nil
	for _, to := range []chan<- *frame{a.work, a.out} {
		select {
		case to <- f:
		case <-a.ctx.Done():
			return context.Cause(a.ctx)
		}
	}
	return nil
}

// compress compresses the frames that come.
func compress(enc *zstd.Encoder, work <-chan *frame) {
	for f := range work {
		f.packed = enc.EncodeAll(f.content, f.packed[:0])
		f.ready <- struct{}{}
	}
}
