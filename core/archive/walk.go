package archive

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/offsite-backup/offsite/core"
)

// A walker finds what goes into an archive, in walk order over all roots.
//
// It goes down by open directories, never by a path: a directory that is swapped
// for a symbolic link is not followed, and a path may be longer than the system
// takes in one piece.
type walker struct {
	pending  []root // those not walked yet, in walk order
	patterns []pattern
	left     []left
	emit     func(mark) error // takes each mark, with a hold on its folder for the call

	current root // the one that is walked
}

// A mark is one thing that a walk found, or could not look at.
type mark struct {
	name string  // in the archive
	dir  *folder // where it lies
	base string  // what it is called there
	told string  // for a root: its path on disk as the caller named it
	info fs.FileInfo
	self *folder // the directory itself, open, where the mark is one
	odd  *Oddity // set where there is nothing to archive
}

func (m *mark) path() string {
	if m.told != "" {
		return m.told
	}
	return filepath.Join(m.dir.path, m.base)
}

// A folder is an open directory. Whoever needs it beyond the walk holds it.
type folder struct {
	root  *os.Root
	path  string // on disk, for people
	name  string // in the archive
	holds atomic.Int32
}

func newFolder(r *os.Root, path, name string) *folder {
	f := &folder{root: r, path: path, name: name}
	f.holds.Store(1)
	return f
}

func (f *folder) hold() { f.holds.Add(1) }

func (f *folder) release() {
	if f.holds.Add(-1) == 0 {
		// What was only read has nothing to lose.
		_ = f.root.Close()
	}
}

// open opens what is called base to be read, and answers errSwapped where that is
// not the file that info is of.
func (f *folder) open(base string, info fs.FileInfo) (*os.File, fs.FileInfo, error) {
	file, err := f.root.OpenFile(base, readFlags|quietFlag, 0)
	if quietFlag != 0 && errors.Is(err, fs.ErrPermission) {
		file, err = f.root.OpenFile(base, readFlags, 0)
	}
	if err != nil {
		return nil, nil, err
	}
	now, err := file.Stat()
	if err == nil && !os.SameFile(now, info) {
		err = errSwapped
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, now, nil
}

// errSwapped says that a name stands for another file than a moment before.
var errSwapped = errors.New("replaced while it was read")

// walk walks all roots.
func (w *walker) walk(ctx context.Context) error {
	for len(w.pending) > 0 {
		if err := w.next(ctx); err != nil {
			return err
		}
	}
	return nil
}

// next walks the first pending root, which may stand in the middle of another.
func (w *walker) next(ctx context.Context) error {
	outer := w.current
	defer func() { w.current = outer }()
	w.current, w.pending = w.pending[0], w.pending[1:]
	parent, base := filepath.Split(w.current.real)
	if base == "" {
		base = "." // the root of a file system
	}
	r, err := os.OpenRoot(parent)
	if err != nil {
		return missing(w.current.path, err)
	}
	dir := newFolder(r, parent, "")
	defer dir.release()
	info, err := r.Lstat(base)
	if err != nil {
		return missing(w.current.path, err)
	}
	return w.thing(ctx, mark{name: w.current.name, dir: dir, base: base, told: w.current.path, info: info})
}

// visit looks at one name in a directory.
func (w *walker) visit(ctx context.Context, dir *folder, base string) error {
	m := mark{name: base, dir: dir, base: base}
	if dir.name != "" {
		m.name = dir.name + "/" + base
	}
	for len(w.pending) > 0 && compareNames(w.pending[0].name, m.name) < 0 {
		if err := w.next(ctx); err != nil {
			return err
		}
	}
	if w.mounted(m.name) {
		return nil
	}
	var err error
	if m.info, err = dir.root.Lstat(base); err != nil {
		o := trouble(m.path(), err)
		m.odd = &o
		return w.emit(m)
	}
	if w.excluded(m) {
		return nil
	}
	return w.thing(ctx, m)
}

// mounted says whether a pending root takes the place of what is on disk.
func (w *walker) mounted(name string) bool {
	if len(w.pending) == 0 {
		return false
	}
	p := w.pending[0]
	return p.name == name || p.dir && within(p.name, name)
}

func (w *walker) excluded(m mark) bool {
	if w.current.dir {
		return false
	}
	below := m.name
	if w.current.name != "" {
		below = m.name[len(w.current.name)+1:]
	}
	return slices.ContainsFunc(w.patterns, func(p pattern) bool { return p.match(m.name, below, m.info.IsDir()) })
}

// thing emits what was found, and for a directory what is in it.
func (w *walker) thing(ctx context.Context, m mark) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for i := range w.left {
		if w.left[i].is(m.info, m.base) {
			return nil
		}
	}
	if m.info.IsDir() {
		return w.tree(ctx, m)
	}
	return w.emit(m)
}

// tree emits a directory and then what is in it, its names in order. The root of
// a file system has no name and is no entry.
func (w *walker) tree(ctx context.Context, m mark) error {
	names, err := m.enter()
	if m.self != nil {
		defer m.self.release()
	}
	if err != nil {
		odd := m
		o := trouble(m.path(), err)
		odd.odd = &o
		if e := w.emit(odd); e != nil || o.What == vanished {
			return e
		}
	}
	if m.name != "" {
		if err := w.emit(m); err != nil {
			return err
		}
	}
	for _, base := range names {
		if err := w.visit(ctx, m.self, base); err != nil {
			return err
		}
	}
	return nil
}

// enter opens a directory as m.self and reads the names in it, sorted. With an
// error there may be some of them.
func (m *mark) enter() ([]string, error) {
	r, err := m.dir.root.OpenRoot(m.base)
	if err != nil {
		return nil, err
	}
	m.self = newFolder(r, m.path(), m.name)
	return m.self.names(m.info)
}

func (f *folder) names(info fs.FileInfo) ([]string, error) {
	file, _, err := f.open(".", info)
	if err != nil {
		return nil, err
	}
	names, err := file.Readdirnames(-1)
	_ = file.Close()
	slices.Sort(names)
	return names, err
}

// What an Oddity says that packing reports.
const (
	vanished   = "vanished"
	unreadable = "unreadable"
	changed    = "changed"
	isSocket   = "socket"
	isUnknown  = "unknown type"
	attributes = "attributes"
)

// trouble is the Oddity of something that could not be read at all. What is gone
// by the time it is looked at was deleted, as if before the backup.
func trouble(path string, err error) Oddity {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Oddity{Path: path, What: vanished, Err: err}
	case errors.Is(err, errSwapped):
		return Oddity{Path: path, What: changed, Lost: true, Err: err}
	}
	return Oddity{Path: path, What: unreadable, Lost: true, Err: err}
}

// probe answers ErrInvalid for the first root that holds nothing but
// directories, and ErrDenied where nobody can tell.
func probe(ctx context.Context, w walker, rs []root) error {
	found := errors.New("found")
	for _, r := range rs {
		if r.dir {
			continue
		}
		var odd *Oddity
		w.pending = []root{r}
		w.emit = func(m mark) error {
			switch {
			case m.odd != nil:
				odd = m.odd
			case !m.info.IsDir() && kindOf(m.info.Mode()) != 0:
				return found
			}
			return nil
		}
		switch err := w.walk(ctx); {
		case err == found:
		case err != nil:
			return err
		case odd != nil && odd.Lost:
			return core.Errorf(core.ErrDenied, "path to back up %q: nothing in it can be read: %w", r.path, odd.Err)
		default:
			return core.Errorf(core.ErrInvalid, "path to back up %q holds no file: allow it to be empty if it should be", r.path)
		}
	}
	return nil
}
