package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
)

// A tree is the directory as a filetree.FS. os.Root keeps every name inside of it.
type tree struct{ dir string }

var _ filetree.FS = tree{}

// in opens the directory for one operation on name, which no link leads to.
func (t tree) in(ctx context.Context, name string, f func(*os.Root) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	root, err := os.OpenRoot(t.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := noLinks(root, name); err != nil {
		return err
	}
	return f(root)
}

// noLinks refuses a name whose directories are links. os.Root would follow those
// that stay inside, and objects would be found where none were put.
func noLinks(root *os.Root, name string) error {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if info, err := root.Lstat(dir); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return core.Errorf(core.ErrUnsupported, "%s is a link, and links are not followed", dir)
		}
	}
	return nil
}

func (t tree) OpenFile(ctx context.Context, name string, flag int) (file filetree.File, err error) {
	err = t.in(ctx, name, func(root *os.Root) error {
		f, err := root.OpenFile(name, flag|noBlock, 0o600)
		if err == nil {
			file = openFile{f}
		}
		return err
	})
	return file, err
}

// An openFile is a file with the system's lock.
type openFile struct{ *os.File }

// TryLock asks the system. Of a network file system's locks other machines know,
// unless it was mounted otherwise.
func (f openFile) TryLock() (held bool, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	if e := raw.Control(func(fd uintptr) { held, err = tryLock(fd) }); e != nil {
		return false, e
	}
	return held, err
}

func (t tree) Lstat(ctx context.Context, name string) (info fs.FileInfo, err error) {
	err = t.in(ctx, name, func(root *os.Root) error {
		info, err = root.Lstat(name)
		return err
	})
	return info, err
}

func (t tree) ReadDir(ctx context.Context, name string) (infos []fs.FileInfo, err error) {
	err = t.in(ctx, name+"/.", func(root *os.Root) error {
		d, err := root.Open(name)
		if err != nil {
			return err
		}
		defer d.Close()
		infos, err = d.Readdir(-1)
		return err
	})
	return infos, err
}

func (t tree) Mkdir(ctx context.Context, name string) error {
	if name == "." {
		return t.make(ctx)
	}
	return t.in(ctx, name, func(root *os.Root) error { return root.Mkdir(name, 0o700) })
}

// make makes the place, and syncs each directory that something new is in.
func (t tree) make(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := os.Mkdir(t.dir, 0o700)
	above := tree{filepath.Dir(t.dir)}
	if errors.Is(err, fs.ErrNotExist) && above != t {
		if err := above.make(ctx); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		err = os.Mkdir(t.dir, 0o700)
	}
	if err != nil {
		return err
	}
	return above.SyncDir(ctx, ".")
}

// A mounted tree is on a disk that comes and goes. Its directory is never made.
type mounted struct{ tree }

func (m mounted) Mkdir(ctx context.Context, name string) error {
	if name == "." {
		return core.Errorf(core.ErrNoPlace, "%s is not there, and with must_exist it is not made", m.dir)
	}
	return m.tree.Mkdir(ctx, name)
}

func (t tree) Remove(ctx context.Context, name string) error {
	return t.in(ctx, name, func(root *os.Root) error { return root.Remove(name) })
}

func (t tree) RenameNoReplace(ctx context.Context, from, to string) error {
	return t.move(ctx, from, to, renameNoReplace)
}

func (t tree) Link(ctx context.Context, from, to string) error {
	return t.move(ctx, from, to, func(root *os.Root, from, to string) error { return orUnsupported(root.Link(from, to)) })
}

func (t tree) Rename(ctx context.Context, from, to string) error {
	return t.move(ctx, from, to, (*os.Root).Rename)
}

func (t tree) move(ctx context.Context, from, to string, f func(root *os.Root, from, to string) error) error {
	return t.in(ctx, from, func(root *os.Root) error {
		if err := noLinks(root, to); err != nil {
			return err
		}
		return f(root, from, to)
	})
}

func (t tree) SyncDir(ctx context.Context, name string) error {
	return t.in(ctx, name+"/.", func(root *os.Root) error { return syncDir(root, name) })
}

// Close has nothing to close.
func (t tree) Close() error { return nil }
