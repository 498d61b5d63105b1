package sftp

import (
	"cmp"
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

	behind []*transfer // writes on their way, in order
	spare  [][]byte    // buffers of those that arrived
	failed error       // the first of them
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
		return f.tree.failure(f.conn, err, at)
	}
	return f.tree.chmod(f.remote.Chmod(0o600))
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

// WriteAt returns while the bytes are on their way, so that the next ones are too before
// the server has answered. What becomes of them, a later WriteAt tells, or Sync, or
// Close.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if err := f.settle(ahead - 1); err != nil {
		return 0, err
	}
	w := &transfer{done: make(chan struct{})}
	if n := len(f.spare); n > 0 {
		w.buffer, f.spare = f.spare[n-1][:0], f.spare[:n-1]
	}
	w.buffer = append(w.buffer, p...) // the caller may use p again
	f.behind = append(f.behind, w)
	go func() {
		defer close(w.done)
		w.err = f.do(f.ctx, "write", func() error {
			_, err := f.remote.WriteAt(w.buffer, off)
			return f.tree.failure(f.conn, err, "")
		})
	}()
	return len(p), nil
}

// settle waits until no more than some writes are on their way, and returns the first
// error of all that were.
func (f *file) settle(most int) error {
	for len(f.behind) > most {
		w := f.behind[0]
		f.behind = f.behind[1:]
		<-w.done
		f.spare = append(f.spare, w.buffer)
		if f.failed == nil {
			f.failed = w.err
		}
	}
	return f.failed
}

func (f *file) Stat() (info fs.FileInfo, err error) {
	if err := f.settle(0); err != nil {
		return nil, err
	}
	err = f.do(f.ctx, "stat", func() error {
		info, err = f.remote.Stat()
		return err
	})
	return info, err
}

func (f *file) Truncate(size int64) error {
	if err := f.settle(0); err != nil {
		return err
	}
	return f.do(f.ctx, "truncate", func() error {
		return f.tree.failure(f.conn, f.remote.Truncate(size), "")
	})
}

// Sync does nothing where the server does not offer it.
func (f *file) Sync() error {
	if err := f.settle(0); err != nil {
		return err
	}
	return f.do(f.ctx, "sync", func() error {
		if !f.tree.canSync(f.conn) {
			return nil
		}
		return f.tree.failure(f.conn, f.remote.Sync(), "")
	})
}

// Close gives the connection back too.
func (f *file) Close() error {
	defer f.tree.pool.put(f.conn)
	err := f.settle(0)
	return cmp.Or(err, f.do(f.ctx, "close", f.remote.Close))
}
