package archive

import (
	"errors"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/offsite-backup/offsite/core"
)

// errNotFolder says that something is there and is no directory, a symbolic link
// to one included.
var errNotFolder = errors.New("not a directory")

// An extractFolder is an open directory of the target. The last of its users
// closes it.
type extractFolder struct {
	extractDir
	users atomic.Int32
}

func newExtractFolder(d extractDir) *extractFolder {
	f := &extractFolder{extractDir: d}
	f.users.Store(1)
	return f
}

func (f *extractFolder) retain() *extractFolder {
	f.users.Add(1)
	return f
}

func (f *extractFolder) release() {
	if f.users.Add(-1) == 0 {
		f.close()
	}
}

// An extractTree is the target. It opens directories element by element, so that
// no symbolic link is ever followed.
type extractTree struct {
	root  *extractFolder
	last  *extractFolder // the directory that was asked for last
	name  string         // of last
	dirs  []extractLater
	fresh bool // whether the target was empty, so that all in it is ours

	mu   sync.Mutex // guards made
	made map[uint64]struct{}
	seed maphash.Seed // made has hashes of the names that are ours in a target that was not empty
}

// An extractLater is what a directory gets when all below it is done.
type extractLater struct {
	rel  string
	meta extractMeta
}

func newExtractTree(root *os.Root) (*extractTree, error) {
	fresh, err := isEmpty(root)
	if err != nil {
		return nil, err
	}
	dir, err := openExtractDir(root)
	if err != nil {
		return nil, err
	}
	t := &extractTree{
		root: newExtractFolder(dir), fresh: fresh,
		made: map[uint64]struct{}{}, seed: maphash.MakeSeed(),
	}
	t.last = t.root.retain()
	return t, nil
}

func isEmpty(root *os.Root) (bool, error) {
	f, err := root.Open(".")
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if err == io.EOF {
		return true, nil
	}
	return false, err
}

func (t *extractTree) close() {
	t.last.release()
	t.root.release()
}

// claim notes that a thing of this name comes from the archive, and says whether
// one did before, where that is known.
func (t *extractTree) claim(rel string) (again bool) {
	if t.fresh {
		return false
	}
	key := maphash.String(t.seed, rel)
	t.mu.Lock()
	defer t.mu.Unlock()
	_, again = t.made[key]
	t.made[key] = struct{}{}
	return again
}

// disclaim takes claim back: the thing could not be made.
func (t *extractTree) disclaim(rel string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.made, maphash.String(t.seed, rel))
}

// ours says whether what is there under a name comes from the archive.
func (t *extractTree) ours(rel string) bool {
	if t.fresh {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.made[maphash.String(t.seed, rel)]
	return ok
}

// open returns the directory of that name, making what is missing if create is
// set. The caller releases it. fs.ErrNotExist, errNotFolder and errors of the file
// system come with the name of the directory that they are about.
func (t *extractTree) open(rel string, create bool) (_ *extractFolder, at string, err error) {
	if rel == t.name {
		return t.last.retain(), rel, nil
	}
	f, rest := t.root, rel
	if t.name != "" && strings.HasPrefix(rel, t.name) && rel[len(t.name)] == '/' {
		f, rest = t.last, rel[len(t.name)+1:]
	}
	f.retain()
	for rest != "" {
		var base string
		base, rest, _ = strings.Cut(rest, "/")
		at = strings.TrimSuffix(rel[:len(rel)-len(rest)], "/")
		next, err := t.enter(f, at, base, create)
		f.release()
		if err != nil {
			return nil, at, err
		}
		f = next
	}
	t.last.release()
	t.last, t.name = f.retain(), rel
	return f, rel, nil
}

func (t *extractTree) enter(f *extractFolder, rel, base string, create bool) (*extractFolder, error) {
	d, err := f.child(base)
	if create && errors.Is(err, fs.ErrNotExist) {
		if err := f.mkdir(base); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		t.claim(rel)
		d, err = f.child(base)
	}
	if err != nil {
		return nil, err
	}
	return newExtractFolder(d), nil
}

// parent opens the directory that an entry goes to.
func (x *extraction) parent(e *extractEntry) (*extractFolder, error) {
	f, at, err := x.tree.open(above(e.rel), true)
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, errNotFolder) && x.tree.ours(at):
		return nil, core.Errorf(core.ErrDamaged, "archive entry %q goes through %q, which is no directory: nothing is written through a link", e.name, at)
	case errors.Is(err, errNotFolder):
		return nil, core.Errorf(core.ErrExists, "%q is in the way of %q: it is no directory, and nothing is written through a link", at, e.rel)
	}
	return nil, x.lost(e.rel, "its directory cannot be made", err)
}

// directory makes a directory, or takes the one that is there.
func (x *extraction) directory(e *extractEntry) error {
	up, err := x.parent(e)
	if err != nil {
		return err
	}
	defer up.release()
	f, _, err := x.tree.open(e.rel, true)
	if errors.Is(err, errNotFolder) {
		if x.tree.ours(e.rel) {
			return e.twice()
		}
		if err := x.makeWay(e, up); err != nil {
			return err
		}
		f, _, err = x.tree.open(e.rel, true)
	}
	if err != nil {
		return x.lost(e.rel, "directory not made", err)
	}
	f.release()
	x.tree.claim(e.rel)
	x.tree.note(e)
	x.restored(0)
	return nil
}

// note remembers what a directory gets at the end. It copies the strings, which
// are pieces of the whole header.
func (t *extractTree) note(e *extractEntry) {
	m := e.meta
	m.attrs = slices.Clone(m.attrs)
	for i, a := range m.attrs {
		m.attrs[i] = extractAttr{strings.Clone(a.name), strings.Clone(a.value)}
	}
	t.dirs = append(t.dirs, extractLater{strings.Clone(e.rel), m})
}

// finish gives the directories what they get, each after all below it.
func (x *extraction) finish() error {
	dirs := x.tree.dirs
	slices.SortStableFunc(dirs, func(a, b extractLater) int { return strings.Compare(b.rel, a.rel) })
	for i, d := range dirs {
		if x.ctx.Err() != nil {
			return x.ctx.Err()
		}
		if i+1 < len(dirs) && dirs[i+1].rel == d.rel {
			x.odd(Oddity{Path: d.rel, What: "directory twice in the archive"})
			continue // the last one counts
		}
		if err := x.finishDir(d); err != nil {
			x.odd(Oddity{Path: d.rel, What: "mode and time not restored", Err: err})
		}
	}
	return nil
}

func (x *extraction) finishDir(d extractLater) error {
	up, _, err := x.tree.open(above(d.rel), false)
	if err != nil {
		return err
	}
	defer up.release()
	base := baseName(d.rel)
	dir, err := up.child(base)
	if err != nil {
		return err
	}
	defer dir.close()
	x.describe(d.rel, up.extractDir, base, dir.self(), &d.meta)
	return nil
}
