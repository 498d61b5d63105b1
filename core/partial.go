package core

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A partial is the file that a download fills, beside the place where it will
// stand. One process at a time has it: after it was published nobody writes it.
type partial struct {
	path  string // where it will stand
	dir   *os.Root
	name  string // below dir, until it is published
	file  *os.File
	again bool // whether an earlier try left it
}

func newPartial(path string, id ID) (*partial, error) {
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	p := &partial{path: path, dir: dir, name: "." + filepath.Base(path) + "." + string(id) + ".partial"}
	if err := p.free(); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return p, nil
}

// free answers ErrExists when there is something at path.
func (p *partial) free() error {
	_, err := os.Lstat(p.path)
	switch {
	case err == nil:
		return Errorf(ErrExists, "%s is there already", p.path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// open makes the file, or takes that of an earlier try, and gives it size bytes.
func (p *partial) open(size int64) error {
	for p.file == nil {
		if err := p.take(); err != nil {
			return p.at(err)
		}
	}
	stat, err := p.file.Stat()
	if err != nil {
		return err
	}
	p.again = stat.Size() > 0
	return p.file.Truncate(size)
}

// take opens and locks the file. It leaves p.file nil when the one that it locked
// was published or removed just before.
func (p *partial) take() error {
	if stat, err := p.dir.Lstat(p.name); err == nil && !stat.Mode().IsRegular() {
		return Errorf(ErrInvalid, "%s is in the way and no file", p.name)
	}
	f, err := p.dir.OpenFile(p.name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := lock(f); err != nil {
		return errors.Join(err, f.Close())
	}
	mine, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	now, err := p.dir.Lstat(p.name)
	if err != nil || !os.SameFile(mine, now) {
		return f.Close()
	}
	p.file = f
	return nil
}

// publish syncs the complete file and gives it its name, never replacing another.
func (p *partial) publish() error {
	if err := p.file.Sync(); err != nil {
		return err
	}
	if err := p.rename(); err != nil {
		return err
	}
	d, err := p.dir.Open(".")
	if err != nil {
		return err
	}
	// Some systems cannot sync a directory; the file itself is synced.
	_ = d.Sync()
	return d.Close()
}

func (p *partial) rename() error {
	final := filepath.Base(p.path)
	if p.dir.Link(p.name, final) == nil {
		return p.at(p.dir.Remove(p.name))
	}
	if err := p.free(); err != nil {
		return err
	}
	// There are no hard links here.
	return p.at(p.dir.Rename(p.name, final))
}

// at adds the path to an error that has only a name.
func (p *partial) at(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", p.path, err)
}

func (p *partial) close() error {
	if p.file == nil {
		return p.dir.Close()
	}
	return errors.Join(p.file.Close(), p.dir.Close())
}
