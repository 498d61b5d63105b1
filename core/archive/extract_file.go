package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"os"
	"runtime"

	"github.com/offsite-backup/offsite/core"
)

// extractSmall is the most bytes of a file that is handed to a worker.
const extractSmall = 1 << 20

func extractWorkers(n int) int {
	if n > 0 {
		return n
	}
	return min(runtime.GOMAXPROCS(0), 8)
}

// An extractJob is a small file: all that is needed to write it.
type extractJob struct {
	e    *extractEntry
	dir  *extractFolder
	data []byte
}

// work writes small files. It takes every job, also when the extraction has
// ended, because each brings a buffer and a folder back.
func (x *extraction) work() {
	for j := range x.jobs {
		if x.ctx.Err() == nil {
			if err := x.tolerate(j.e.rel, x.writeSmall(j)); err != nil {
				x.stop(err)
			}
		}
		j.dir.release()
		x.free <- j.data[:0]
		x.pending.Done()
	}
}

func (x *extraction) writeSmall(j extractJob) error {
	return x.create(j.e, j.dir, int64(len(j.data)), func(f *os.File) error {
		_, err := f.Write(j.data)
		if err := x.lost(j.e.rel, "content not written", err); err != nil || j.e.sum == "" {
			return err
		}
		sum := sha256.Sum256(j.data)
		return j.e.compare(sum[:])
	})
}

// file restores a regular file: a small one is left to a worker.
func (x *extraction) file(e *extractEntry) error {
	if e.isSparse() {
		return x.sparse(e)
	}
	dir, err := x.claimed(e)
	if err != nil {
		return err
	}
	if e.body.left > extractSmall {
		defer dir.release()
		return x.large(e, dir)
	}
	data := <-x.free
	if int64(cap(data)) < e.body.left {
		data = make([]byte, e.body.left)
	}
	data = data[:e.body.left]
	if err := e.body.fill(data); err != nil {
		dir.release()
		x.free <- data
		return err
	}
	x.pending.Add(1)
	x.jobs <- extractJob{e, dir, data}
	return nil
}

// claimed opens the directory of an entry that is no directory, whose name must
// be new.
func (x *extraction) claimed(e *extractEntry) (*extractFolder, error) {
	if x.tree.claim(e.rel) {
		return nil, e.twice()
	}
	return x.parent(e)
}

func (x *extraction) large(e *extractEntry, dir *extractFolder) error {
	size := e.body.left
	return x.create(e, dir, size, func(f *os.File) error {
		c := x.newCopier(e, f)
		defer c.close()
		if err := c.copy(size); err != nil {
			return err
		}
		return c.check()
	})
}

func (x *extraction) sparse(e *extractEntry) error {
	m, err := e.readSparse()
	if err != nil {
		return err
	}
	dir, err := x.claimed(e)
	if err != nil {
		return err
	}
	defer dir.release()
	return x.create(e, dir, m.size, func(f *os.File) error { return m.write(x, e, f) })
}

// create makes a file, has it filled, and gives it its owner, mode and time. A
// file that is not whole is removed.
func (x *extraction) create(e *extractEntry, dir *extractFolder, size int64, fill func(*os.File) error) error {
	var f *os.File
	err := x.make(e, dir, func() (err error) {
		f, err = dir.create(e.base)
		return err
	})
	if err != nil {
		return err
	}
	if err = fill(f); err == nil {
		x.describe(e.rel, dir.extractDir, e.base, extractFD(f), &e.meta)
	}
	if closed := x.lost(e.rel, "content not written", f.Close()); err == nil {
		err = closed
	}
	if err != nil {
		if left := dir.remove(e.base); left != nil {
			x.odd(Oddity{Path: e.rel, What: "what was written of it is still there", Err: left})
		}
		return err
	}
	x.restored(size)
	return nil
}

// An extractCopier writes the content of a large or sparse file in order.
type extractCopier struct {
	x      *extraction
	e      *extractEntry
	f      *os.File
	buf    []byte
	off    int64
	hashed hash.Hash // nil where nothing is compared
}

func (x *extraction) newCopier(e *extractEntry, f *os.File) *extractCopier {
	c := &extractCopier{x: x, e: e, f: f, buf: <-x.free}
	if cap(c.buf) < extractSmall {
		c.buf = make([]byte, extractSmall)
	}
	c.buf = c.buf[:extractSmall]
	if e.sum != "" {
		c.hashed = sha256.New()
	}
	return c
}

func (c *extractCopier) close() { c.x.free <- c.buf }

// copy writes the next n bytes of the body.
func (c *extractCopier) copy(n int64) error {
	for n > 0 {
		if c.x.ctx.Err() != nil {
			return context.Cause(c.x.ctx)
		}
		p := c.buf[:min(n, int64(len(c.buf)))]
		if err := c.e.body.fill(p); err != nil {
			return err
		}
		if c.hashed != nil {
			c.hashed.Write(p)
		}
		if _, err := c.f.WriteAt(p, c.off); err != nil {
			return c.x.lost(c.e.rel, "content not written", err)
		}
		c.off += int64(len(p))
		n -= int64(len(p))
	}
	return nil
}

// hole goes on to an offset without writing.
func (c *extractCopier) hole(to int64) error {
	if c.hashed == nil {
		c.off = to
		return nil
	}
	clear(c.buf)
	for c.off < to {
		if c.x.ctx.Err() != nil {
			return context.Cause(c.x.ctx)
		}
		n := min(to-c.off, int64(len(c.buf)))
		c.hashed.Write(c.buf[:n])
		c.off += n
	}
	return nil
}

// check compares the content with what it must be.
func (c *extractCopier) check() error {
	if c.hashed == nil {
		return nil
	}
	return c.e.compare(c.hashed.Sum(nil))
}

func (e *extractEntry) compare(sum []byte) error {
	if got := hex.EncodeToString(sum); got != e.sum {
		return core.Errorf(core.ErrDamaged, "archive entry %q has content of SHA-256 %s, and should have %s", e.name, got, e.sum)
	}
	return nil
}
