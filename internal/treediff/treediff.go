// Package treediff compares two directory trees as a backup and its restore must
// be the same: by names, types, content and metadata.
package treediff

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
)

// Diff lists how the trees below the directories a and b differ, a line each and
// in order of names; no line means that they are the same. It compares names,
// types, permissions with setuid, setgid and sticky bits, times of the last change
// to the nanosecond (also of directories and symbolic links), content, targets of
// symbolic links, device numbers, which names are hard links of each other,
// extended attributes, and roughly how much space files take, so that lost holes
// show. What the system does not have (see the files of this package) is left out.
//
// It does not compare owners, nor the two directories themselves. It follows no
// symbolic link and opens nothing but regular files and directories. Names may be
// longer than the system takes in one path.
func Diff(a, b string) ([]string, error) {
	left, err := open(a)
	if err != nil {
		return nil, err
	}
	defer left.root.Close()
	right, err := open(b)
	if err != nil {
		return nil, err
	}
	defer right.root.Close()
	d := new(diff)
	err = d.dirs("", left, right)
	return d.lines, err
}

// A diff is one call of Diff.
type diff struct {
	lines []string
	links links
}

// A dir is an open directory.
type dir struct{ root *os.Root }

func open(name string) (dir, error) {
	r, err := os.OpenRoot(name)
	return dir{r}, err
}

func (d *diff) addf(name, format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf("%q: ", name)+fmt.Sprintf(format, args...))
}

func (d *diff) dirs(name string, a, b dir) error {
	left, err := a.names()
	if err != nil {
		return err
	}
	right, err := b.names()
	if err != nil {
		return err
	}
	all := slices.Concat(left, right)
	slices.Sort(all)
	for _, base := range slices.Compact(all) {
		_, inLeft := slices.BinarySearch(left, base)
		_, inRight := slices.BinarySearch(right, base)
		switch full := path.Join(name, base); {
		case !inRight:
			d.addf(full, "only in the first")
		case !inLeft:
			d.addf(full, "only in the second")
		default:
			if err := d.things(full, base, a, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d dir) names() ([]string, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// things compares what is called base in both directories.
func (d *diff) things(name, base string, a, b dir) error {
	left, err := a.root.Lstat(base)
	if err != nil {
		return err
	}
	right, err := b.root.Lstat(base)
	if err != nil {
		return err
	}
	if left.Mode().Type() != right.Mode().Type() {
		d.addf(name, "type %v and %v", left.Mode().Type(), right.Mode().Type())
		return nil
	}
	d.infos(name, left, right)
	if err := d.attrs(name, base, a, b); err != nil {
		return err
	}
	switch {
	case left.IsDir():
		return d.below(name, base, a, b)
	case left.Mode().IsRegular():
		return d.contents(name, base, a, b, left.Size() == right.Size())
	case left.Mode()&fs.ModeSymlink != 0:
		return d.targets(name, base, a, b)
	}
	return nil
}

func (d *diff) infos(name string, a, b fs.FileInfo) {
	if a.Mode() != b.Mode() && a.Mode()&fs.ModeSymlink == 0 {
		d.addf(name, "mode %v and %v", a.Mode(), b.Mode())
	}
	if !a.ModTime().Equal(b.ModTime()) {
		d.addf(name, "time %v and %v", a.ModTime().UTC(), b.ModTime().UTC())
	}
	if a.Mode().IsRegular() && a.Size() != b.Size() {
		d.addf(name, "size %d and %d", a.Size(), b.Size())
	}
	d.system(name, a, b)
}

func (d *diff) below(name, base string, a, b dir) error {
	left, err := a.root.OpenRoot(base)
	if err != nil {
		return err
	}
	defer left.Close()
	right, err := b.root.OpenRoot(base)
	if err != nil {
		return err
	}
	defer right.Close()
	return d.dirs(name, dir{left}, dir{right})
}

func (d *diff) targets(name, base string, a, b dir) error {
	left, err := a.root.Readlink(base)
	if err != nil {
		return err
	}
	right, err := b.root.Readlink(base)
	if left != right {
		d.addf(name, "target %q and %q", left, right)
	}
	return err
}

func (d *diff) contents(name, base string, a, b dir, sameSize bool) error {
	left, err := a.root.Open(base)
	if err != nil {
		return err
	}
	defer left.Close()
	right, err := b.root.Open(base)
	if err != nil {
		return err
	}
	defer right.Close()
	if !sameSize {
		return nil // said already
	}
	at, err := firstDifference(left, right)
	if at >= 0 {
		d.addf(name, "content, from byte %d on or before", at)
	}
	return err
}

// firstDifference compares files of the same size, without the holes that both
// have, and returns an offset of a block that is not the same, or -1.
func firstDifference(a, b *os.File) (int64, error) {
	left, right := make([]byte, 256<<10), make([]byte, 256<<10)
	for off := int64(0); ; {
		start, err := nextData(off, a, b)
		if err != nil || start < 0 {
			return -1, err
		}
		n, err := a.ReadAt(left, start)
		if err != nil && err != io.EOF {
			return -1, err
		}
		m, err := b.ReadAt(right, start)
		if err != nil && err != io.EOF {
			return -1, err
		}
		if !bytes.Equal(left[:n], right[:m]) {
			return start, nil
		}
		if n < len(left) {
			return -1, nil
		}
		off = start + int64(n)
	}
}
