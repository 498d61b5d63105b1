package sftp

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/pkg/sftp"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
)

// A file is an open file at the server, on one connection. Its methods but ReadAt are
// for one goroutine.
type file struct {
	tree   *tree
	conn   *conn
	ctx    context.Context
	name   string
	remote *sftp.File
	dirty  bool // whether something was written that is not synced
}

var (
	_ filetree.File     = (*file)(nil)
	_ filetree.Streamer = (*file)(nil)
)

func (f *file) open(flag int) (err error) {
	at := f.tree.path(f.name)
	f.remote, err = f.conn.files.OpenFile(at, flag)
	if flag&os.O_CREATE == 0 {
		return err
	}
	if err != nil {
		err = f.tree.failure(f.conn, err, at)
		if errors.Is(err, fs.ErrExist) { // the answer to an earlier try may have been lost
			err = errors.Join(err, f.tree.chmod(f.conn.files.Chmod(at, 0o600)))
		}
		return err
	}
	if err := f.tree.chmod(f.remote.Chmod(0o600)); err != nil {
		return errors.Join(err, f.remote.Close())
	}
	return nil
}

// do runs an operation until it ends or ctx does.
func (f *file) do(ctx context.Context, what string, op func() error) error {
	return f.tree.named(what, f.name, f.conn.do(ctx, op))
}

// ReadAt reads on where the server gave less than it was asked for, and believes in
// the end of the file where that is its size: the library says the same of a connection
// that is gone.
func (f *file) ReadAt(p []byte, off int64) (int, error) { return f.readAt(f.ctx, p, off) }

func (f *file) readAt(ctx context.Context, p []byte, off int64) (n int, err error) {
	ended := false
	err = f.do(ctx, "read", func() error {
		for n < len(p) {
			m, err := f.remote.ReadAt(p[n:], off+int64(n))
			n += m
			if err == nil {
				continue
			}
			if !errors.Is(err, io.EOF) {
				return err
			}
			info, err := f.remote.Stat()
			if err != nil {
				return err
			}
			if ended = off+int64(n) >= info.Size(); ended {
				return nil
			}
			if m == 0 {
				return core.Errorf(core.ErrUnavailable, "the server gives %d bytes from %d, of a file of %d", n, off, info.Size())
			}
		}
		return nil
	})
	if err == nil && ended {
		err = io.EOF
	}
	return n, err
}

// WriteAt is for the few bytes of a record.
func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	f.dirty = true
	err = f.do(f.ctx, "write", func() error {
		n, err = f.remote.WriteAt(p, off)
		return f.tree.failure(f.conn, err, "")
	})
	return n, err
}

// Fill sends as many packets before it waits for an answer as the connection takes.
func (f *file) Fill(r io.Reader, off int64) error {
	f.dirty = true
	return f.do(f.ctx, "write", func() error {
		if _, err := f.remote.Seek(off, io.SeekStart); err != nil {
			return err
		}
		_, err := f.remote.ReadFromWithConcurrency(r, requests)
		return f.tree.failure(f.conn, err, "")
	})
}

func (f *file) Stat() (info fs.FileInfo, err error) {
	err = f.do(f.ctx, "stat", func() error {
		info, err = f.remote.Stat()
		return err
	})
	return info, err
}

func (f *file) Truncate(size int64) error {
	f.dirty = true
	return f.do(f.ctx, "truncate", func() error {
		return f.tree.failure(f.conn, f.remote.Truncate(size), "")
	})
}

// Sync does nothing where the server does not offer it.
func (f *file) Sync() error {
	if !f.tree.canSync(f.conn) {
		return nil
	}
	err := f.do(f.ctx, "sync", func() error { return f.tree.failure(f.conn, f.remote.Sync(), "") })
	f.dirty = err != nil
	return err
}

// Durable says whether the server syncs.
func (f *file) Durable() bool { return f.tree.canSync(f.conn) }

// Close gives the connection back too. Where nothing depends on the answer nobody waits
// for it: it may come behind much that others asked for.
func (f *file) Close() error {
	defer f.tree.pool.put(f.conn)
	if f.dirty && f.ctx.Err() == nil {
		return f.do(f.ctx, "close", f.remote.Close)
	}
	f.conn.later(f.remote.Close)
	if f.dirty {
		return context.Cause(f.ctx)
	}
	return nil
}
