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

// A file is an open file at the server, on one connection.
type file struct {
	tree   *tree
	conn   *conn
	ctx    context.Context
	name   string
	remote *sftp.File
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

func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.do(f.ctx, "write", func() error {
		n, err = f.remote.WriteAt(p, off)
		return f.tree.failure(f.conn, err, "")
	})
	return n, err
}

func (f *file) Stat() (info fs.FileInfo, err error) {
	err = f.do(f.ctx, "stat", func() error {
		info, err = f.remote.Stat()
		return err
	})
	return info, err
}

func (f *file) Truncate(size int64) error {
	return f.do(f.ctx, "truncate", func() error {
		return f.tree.failure(f.conn, f.remote.Truncate(size), "")
	})
}

// Sync does nothing where the server does not offer it.
func (f *file) Sync() error {
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
	return f.do(f.ctx, "close", f.remote.Close)
}
