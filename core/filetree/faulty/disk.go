package faulty

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
)

// A Disk is a filetree.FS in memory that knows what a loss of power would take: the
// content of files that are not synced, and names in directories that are not. The
// place is missing until somebody makes it. It is safe for concurrent use.
type Disk struct {
	mu    sync.Mutex
	place *node // nil while it is missing
	clock int64 // dates what changes; each date is another
	local map[string]*node
}

var (
	_ filetree.FS      = (*Disk)(nil)
	_ filetree.LocalFS = (*Disk)(nil)
)

// NewDisk returns a Disk with nothing on it.
func NewDisk() *Disk { return &Disk{} }

// Advance sets the clock of the disk forward.
func (d *Disk) Advance(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clock += int64(by)
}

// A node is a file or a directory, as it is and as it was synced.
type node struct {
	mode         fs.FileMode
	time         int64
	data, synced []byte
	names, lasts map[string]*node
	lock         *handle // whose it is
}

// Crash takes from the disk what was not synced, but for what keep lets survive: it
// is asked for each name and for each block of 4 KiB, in a fixed order. Files that
// are open must not be used any more.
func (d *Disk) Crash(keep func() bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := map[*node]bool{}
	crash(d.place, keep, seen)
	for _, path := range slices.Sorted(maps.Keys(d.local)) {
		crash(d.local[path], keep, seen)
	}
}

const block = 4 << 10

func crash(n *node, keep func() bool, seen map[*node]bool) {
	if n == nil || seen[n] {
		return
	}
	seen[n] = true
	if !n.mode.IsDir() {
		n.data = survives(n, keep)
		n.synced = slices.Clone(n.data)
		return
	}
	all := maps.Clone(n.names)
	maps.Copy(all, n.lasts)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		now, before := n.names[name], n.lasts[name]
		if now != before && !keep() {
			now = before
		}
		delete(n.names, name)
		if now != nil {
			n.names[name] = now
			crash(now, keep, seen)
		}
	}
	n.lasts = maps.Clone(n.names)
}

// survives mixes what a file holds with what it held when it was synced.
func survives(n *node, keep func() bool) []byte {
	size := len(n.data)
	if size != len(n.synced) && !keep() {
		size = len(n.synced)
	}
	out := make([]byte, size)
	for at := 0; at < size; at += block {
		piece := out[at:min(at+block, size)]
		now, before := part(n.data, at, len(piece)), part(n.synced, at, len(piece))
		if string(now) != string(before) && !keep() {
			now = before
		}
		copy(piece, now)
	}
	return out
}

func part(b []byte, at, n int) []byte {
	at = min(at, len(b))
	return b[at:min(at+n, len(b))]
}

// find returns the directory that a name is in, its last word, and what has it. "."
// is its own.
func (d *Disk) find(name string) (dir *node, base string, n *node, err error) {
	if d.place == nil {
		return nil, "", nil, fs.ErrNotExist
	}
	if name == "." {
		return nil, ".", d.place, nil
	}
	dir, base = d.place, path.Base(name)
	if above := path.Dir(name); above != "." {
		for word := range strings.SplitSeq(above, "/") {
			if dir = dir.names[word]; dir == nil {
				return nil, "", nil, fs.ErrNotExist
			}
			if !dir.mode.IsDir() {
				return nil, "", nil, errNotDir
			}
		}
	}
	return dir, base, dir.names[base], nil
}

var errNotDir = core.Errorf(core.ErrUnsupported, "not a directory")

func (d *Disk) now() int64 { d.clock++; return d.clock }

// at calls f with what find returns, and names what f answers.
func (d *Disk) at(ctx context.Context, op, name string, f func(dir *node, base string, n *node) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, base, n, err := d.find(name)
	if err == nil {
		err = f(dir, base, n)
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

// OpenFile opens or makes a file.
func (d *Disk) OpenFile(ctx context.Context, name string, flag int) (file filetree.File, err error) {
	err = d.at(ctx, "open", name, func(dir *node, base string, n *node) error {
		switch {
		case n == nil && flag&os.O_CREATE == 0:
			return fs.ErrNotExist
		case n != nil && flag&os.O_CREATE != 0:
			return fs.ErrExist
		case n == nil:
			n = &node{mode: 0o600, time: d.now()}
			dir.names[base] = n
		}
		file = &handle{disk: d, node: n, name: base, write: flag&os.O_WRONLY != 0}
		return nil
	})
	return file, err
}

// Lstat describes a file or a directory.
func (d *Disk) Lstat(ctx context.Context, name string) (info fs.FileInfo, err error) {
	err = d.at(ctx, "lstat", name, func(_ *node, base string, n *node) error {
		if n == nil {
			return fs.ErrNotExist
		}
		info = n.info(base)
		return nil
	})
	return info, err
}

// ReadDir describes what is in a directory.
func (d *Disk) ReadDir(ctx context.Context, name string) (infos []fs.FileInfo, err error) {
	err = d.at(ctx, "readdir", name, func(_ *node, _ string, n *node) error {
		if n == nil {
			return fs.ErrNotExist
		}
		for name, child := range n.names {
			infos = append(infos, child.info(name))
		}
		return nil
	})
	return infos, err
}

// Mkdir makes a directory; the place itself is synced at once.
func (d *Disk) Mkdir(ctx context.Context, name string) error {
	fresh := &node{mode: fs.ModeDir | 0o700, names: map[string]*node{}, lasts: map[string]*node{}}
	if name == "." {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.place != nil {
			return fs.ErrExist
		}
		d.place = fresh
		return nil
	}
	return d.at(ctx, "mkdir", name, func(dir *node, base string, n *node) error {
		if n != nil {
			return fs.ErrExist
		}
		fresh.time = d.now()
		dir.names[base] = fresh
		return nil
	})
}

// Remove removes a file or an empty directory.
func (d *Disk) Remove(ctx context.Context, name string) error {
	return d.at(ctx, "remove", name, func(dir *node, base string, n *node) error {
		if n == nil {
			return fs.ErrNotExist
		}
		if dir == nil || len(n.names) > 0 {
			return errors.New("directory not empty")
		}
		delete(dir.names, base)
		return nil
	})
}

// RenameNoReplace renames unless the new name is taken.
func (d *Disk) RenameNoReplace(ctx context.Context, from, to string) error {
	return d.move(ctx, from, to, false, true)
}

// Link gives a file a second name.
func (d *Disk) Link(ctx context.Context, from, to string) error {
	return d.move(ctx, from, to, false, false)
}

// Rename renames, replacing what has the new name.
func (d *Disk) Rename(ctx context.Context, from, to string) error {
	return d.move(ctx, from, to, true, true)
}

func (d *Disk) move(ctx context.Context, from, to string, replace, remove bool) error {
	return d.at(ctx, "rename", from, func(dir *node, base string, n *node) error {
		if n == nil {
			return fs.ErrNotExist
		}
		target, name, there, err := d.find(to)
		if err != nil {
			return err
		}
		if there != nil && !replace {
			return fs.ErrExist
		}
		if remove {
			delete(dir.names, base)
		}
		target.names[name] = n
		return nil
	})
}

// SyncDir makes the names in a directory last.
func (d *Disk) SyncDir(ctx context.Context, name string) error {
	return d.at(ctx, "syncdir", name, func(_ *node, _ string, n *node) error {
		if n == nil {
			return fs.ErrNotExist
		}
		n.lasts = maps.Clone(n.names)
		return nil
	})
}

// Kind knows the errors of io/fs.
func (d *Disk) Kind(err error) core.ErrorKind {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return core.ErrNotFound
	case errors.Is(err, fs.ErrExist):
		return core.ErrExists
	case errors.Is(err, fs.ErrPermission):
		return core.ErrDenied
	case errors.Is(err, errors.ErrUnsupported):
		return core.ErrUnsupported
	}
	return core.ErrUnavailable
}

// Close does nothing: the Disk goes on, for whoever looks at it next.
func (d *Disk) Close() error { return nil }

// info describes a node as it is now.
func (n *node) info(name string) fs.FileInfo {
	return info{name, int64(len(n.data)), n.mode, time.Unix(1_800_000_000, n.time)}
}

type info struct {
	name string
	size int64
	mode fs.FileMode
	time time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.time }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

// A handle is an open file of a Disk.
type handle struct {
	disk  *Disk
	node  *node
	name  string
	write bool
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.write {
		return 0, fs.ErrPermission
	}
	n := copy(p, part(h.node.data, int(off), len(p)))
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if !h.write {
		return 0, fs.ErrPermission
	}
	if more := int(off) + len(p) - len(h.node.data); more > 0 {
		h.node.data = append(h.node.data, make([]byte, more)...)
	}
	h.node.time = h.disk.now()
	return copy(h.node.data[off:], p), nil
}

func (h *handle) Stat() (fs.FileInfo, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	return h.node.info(h.name), nil
}

func (h *handle) Truncate(size int64) error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	n := h.node
	n.data = append(slices.Clone(part(n.data, 0, int(size))), make([]byte, max(0, int(size)-len(n.data)))...)
	n.time = h.disk.now()
	return nil
}

func (h *handle) Sync() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	h.node.synced = slices.Clone(h.node.data)
	return nil
}

// TryLock takes the lock unless another handle has it.
func (h *handle) TryLock() (held bool, err error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.node.lock == nil {
		h.node.lock = h
	}
	return h.node.lock == h, nil
}

// Close lets go of the lock.
func (h *handle) Close() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.node.lock == h {
		h.node.lock = nil
	}
	return nil
}
