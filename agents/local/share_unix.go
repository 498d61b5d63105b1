//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/offsite-backup/offsite/core/filetree"
)

var _ filetree.LocalFS = tree{}

// OpenLocal opens a file that may become one of the directory.
func (t tree) OpenLocal(ctx context.Context, path string) (filetree.LocalFile, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|noBlock, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !likeNew(info) {
		err = fmt.Errorf("%w: %s is %v, or another user's", errors.ErrUnsupported, path, info.Mode())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return localFile{f, t}, nil
}

// likeNew says whether a file is what this process makes in the directory.
func likeNew(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode() == 0o600 && int(stat.Uid) == os.Geteuid()
}

// A localFile is an open file that lies elsewhere.
type localFile struct {
	*os.File
	tree tree
}

// Link links to the file's path, and takes that back where it did not get the file
// that is open.
func (f localFile) Link(ctx context.Context, name string) error {
	return f.tree.in(ctx, name, func(root *os.Root) error {
		dir, err := root.Open(path.Dir(name))
		if err != nil {
			return err
		}
		defer dir.Close()
		// Without AT_SYMLINK_FOLLOW a link to a symbolic link is one itself.
		if err := unix.Linkat(unix.AT_FDCWD, f.Name(), int(dir.Fd()), path.Base(name), 0); err != nil {
			return &os.LinkError{Op: "link", Old: f.Name(), New: name, Err: err}
		}
		if err := f.linked(root, name); err != nil {
			return errors.Join(err, root.Remove(name))
		}
		return nil
	})
}

// linked answers an error unless a name is the second of the file that is open, and
// the last.
func (f localFile) linked(root *os.Root, name string) error {
	opened, err := f.Stat()
	if err != nil {
		return err
	}
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !os.SameFile(opened, info) || stat.Nlink > 2 {
		return fmt.Errorf("%w: %s has other names, or is another file by now", errors.ErrUnsupported, f.Name())
	}
	return nil
}

// Clone lets the file of that name have the bytes of this one.
func (f localFile) Clone(ctx context.Context, name string) error {
	return f.tree.in(ctx, name, func(root *os.Root) error {
		to, err := root.OpenFile(name, os.O_WRONLY|noBlock, 0)
		if err != nil {
			return err
		}
		return errors.Join(clone(to, f.File), to.Close())
	})
}
