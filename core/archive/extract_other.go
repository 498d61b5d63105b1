//go:build !linux && !darwin

package archive

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
	"time"
)

// noFD stands for a thing that is not opened.
const noFD = -1

// An extractDir is an open directory. Its methods take the name of something in
// it, one element.
type extractDir struct {
	root *os.Root
	top  *os.Root // the target
	at   string   // where root lies in it
}

func openExtractDir(root *os.Root) (extractDir, error) {
	r, err := root.OpenRoot(".")
	return extractDir{r, root, "."}, err
}

func (d extractDir) close() { d.root.Close() }

func (d extractDir) self() int { return noFD }

func extractFD(*os.File) int { return noFD }

// child opens a directory, or answers errNotFolder.
func (d extractDir) child(name string) (extractDir, error) {
	info, err := d.root.Lstat(name)
	if err != nil {
		return extractDir{}, err
	}
	if !info.IsDir() {
		return extractDir{}, errNotFolder
	}
	r, err := d.root.OpenRoot(name)
	return extractDir{r, d.top, path.Join(d.at, name)}, err
}

func (d extractDir) mkdir(name string) error { return d.root.Mkdir(name, 0o700) }

// create makes a file that was not there.
func (d extractDir) create(name string) (*os.File, error) {
	return d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (d extractDir) symlink(target, name string) error { return d.root.Symlink(target, name) }

func (d extractDir) link(from extractDir, old, name string) error {
	return d.top.Link(path.Join(from.at, old), path.Join(d.at, name))
}

func (d extractDir) remove(name string) error { return d.root.Remove(name) }

// lstat returns the type of what is there.
func (d extractDir) lstat(name string) (fs.FileMode, error) {
	info, err := d.root.Lstat(name)
	if err != nil {
		return 0, err
	}
	return info.Mode().Type(), nil
}

// has says whether the directory has something of exactly this name.
func (d extractDir) has(name string) (bool, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return false, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	return slices.Contains(names, name), err
}

func (d extractDir) chown(name string, uid, gid int) error { return d.root.Lchown(name, uid, gid) }

func (d extractDir) chmod(name string, _ int, bits uint32) error {
	return d.root.Chmod(name, fs.FileMode(bits).Perm())
}

// chtimes leaves symbolic links alone, which os.Root would follow.
func (d extractDir) chtimes(name string, mtime time.Time) error {
	info, err := d.root.Lstat(name)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return errors.ErrUnsupported
	}
	return d.root.Chtimes(name, time.Time{}, mtime)
}

func (d extractDir) setAttr(string, int, extractAttr) error { return errors.ErrUnsupported }

func (d extractDir) mknod(string, *tar.Header) error { return errors.ErrUnsupported }

// extractFull says whether an error means that nothing more can be written.
func extractFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
