package archive

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"

	"github.com/offsite-backup/offsite/core"
)

func (e *extractEntry) twice() error {
	return core.Errorf(core.ErrDamaged, "archive entry %q is there twice", e.name)
}

// make calls one that makes the entry's thing, and once more when something that
// was in the way is gone.
func (x *extraction) make(e *extractEntry, dir *extractFolder, one func() error) error {
	err := one()
	if errors.Is(err, fs.ErrExist) {
		if err := x.makeWay(e, dir); err != nil {
			return err
		}
		err = one()
	}
	return x.lost(e.rel, "not made", err)
}

// makeWay removes what is there under an entry's name and does not come from the
// archive, if that is wanted.
func (x *extraction) makeWay(e *extractEntry, dir *extractFolder) error {
	if x.tree.fresh {
		if same, err := dir.has(e.base); err == nil && !same {
			return &extractLoss{"this file system takes its name and another one for the same", nil}
		}
		return e.twice()
	}
	if !x.o.Overwrite {
		return core.Errorf(core.ErrExists, "%q is there already: restore to an empty directory, or ask for it to be replaced", e.rel)
	}
	mode, err := dir.lstat(e.base)
	if err == nil && mode.IsDir() {
		return &extractLoss{"a directory is in its place", nil}
	}
	if err == nil {
		err = dir.remove(e.base)
	}
	return x.lost(e.rel, "what is there cannot be replaced", err)
}

func (x *extraction) symlink(e *extractEntry) error {
	if e.hdr.Linkname == "" {
		return core.Errorf(core.ErrDamaged, "archive entry %q is a symbolic link to nothing", e.name)
	}
	return x.special(e, func(dir *extractFolder) error { return dir.symlink(e.hdr.Linkname, e.base) })
}

// node restores a FIFO, or a device where that is wanted.
func (x *extraction) node(e *extractEntry) error {
	if e.hdr.Typeflag != tar.TypeFifo && !x.o.Devices {
		x.odd(Oddity{Path: e.rel, What: "device, left out"})
		return nil
	}
	return x.special(e, func(dir *extractFolder) error { return dir.mknod(e.base, e.hdr) })
}

// special makes a thing that has no content, and describes it.
func (x *extraction) special(e *extractEntry, one func(*extractFolder) error) error {
	dir, err := x.claimed(e)
	if err != nil {
		return err
	}
	defer dir.release()
	if err := x.make(e, dir, func() error { return one(dir) }); err != nil {
		return err
	}
	if e.hdr.Typeflag != tar.TypeLink { // the first name has it all
		x.describe(e.rel, dir.extractDir, e.base, noFD, &e.meta)
	}
	x.restored(0)
	return nil
}

// hardlink gives a thing that was restored before another name. Where its first
// name is not restored, the link gets the content and later links lead to it.
func (x *extraction) hardlink(e *extractEntry) error {
	first, err := extractName(e.hdr.Linkname)
	if err != nil {
		return core.Errorf(core.ErrDamaged, "archive entry %q is a hard link that leads outside: %w", e.name, err)
	}
	if first == e.name || first == "." {
		return core.Errorf(core.ErrDamaged, "archive entry %q is a hard link to itself or to the root", e.name)
	}
	to, moved := x.moved[first]
	if !moved {
		to, _ = x.place(first, false)
	}
	if to == "" {
		return x.content(e, first)
	}
	x.pending.Wait() // one of them may be what it leads to
	from, err := x.linked(e, to)
	if errors.Is(err, fs.ErrNotExist) {
		return x.content(e, first)
	}
	if err != nil {
		return x.lost(e.rel, "what it is a hard link to cannot be opened", err)
	}
	defer from.release()
	return x.special(e, func(dir *extractFolder) error {
		return dir.link(from.extractDir, baseName(to), e.base)
	})
}

// linked opens the directory of what a hard link leads to. What does not come
// from the archive is fs.ErrNotExist.
func (x *extraction) linked(e *extractEntry, to string) (*extractFolder, error) {
	from, at, err := x.tree.open(above(to), false)
	if errors.Is(err, errNotFolder) && x.tree.ours(at) {
		return nil, core.Errorf(core.ErrDamaged, "archive entry %q is a hard link through %q, which is no directory", e.name, at)
	}
	if err != nil {
		return nil, err
	}
	mode, err := from.lstat(baseName(to))
	switch {
	case err == nil && !x.tree.ours(to):
		err = fs.ErrNotExist
	case err == nil && mode.IsDir():
		err = core.Errorf(core.ErrDamaged, "archive entry %q is a hard link to a directory", e.name)
	}
	if err != nil {
		from.release()
		return nil, err
	}
	return from, nil
}

// content restores a hard link as a file of its own, with the content of the
// entry that it leads to.
func (x *extraction) content(e *extractEntry, first string) (err error) {
	if x.o.Content == nil {
		return &extractLoss{"a hard link whose content, under another name, is not restored", nil}
	}
	stream, want, err := x.o.Content(x.ctx, first)
	if errors.Is(err, core.ErrNotFound) {
		return &extractLoss{"a hard link whose content is not in the archive", err}
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	s := newExtractStream(x.ctx, stream)
	hdr, err := s.next()
	if err == io.EOF {
		return core.Errorf(core.ErrDamaged, "the archive has no %q where it should be", first)
	}
	if err != nil {
		return err
	}
	return x.instead(e, s, hdr, want, first)
}

// instead restores the entry that s is at in e's place.
func (x *extraction) instead(e *extractEntry, s *extractStream, hdr *tar.Header, want Entry, first string) error {
	name, err := extractName(hdr.Name)
	if err != nil {
		return err
	}
	if name != first || hdr.Typeflag == tar.TypeLink || hdr.Typeflag == tar.TypeDir {
		return core.Errorf(core.ErrDamaged, "archive entry %q is a hard link to %q, which has no content", e.name, first)
	}
	it := &extractEntry{name: name, hdr: hdr, body: s}
	if err := it.expect(&want); err != nil {
		return err
	}
	it.move(e.rel)
	it.meta = x.metaOf(it)
	if err := x.restore(it); err != nil {
		return err
	}
	x.moved[first] = e.rel
	return nil
}
