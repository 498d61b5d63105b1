package faulty

import (
	"context"
	"io"
	"io/fs"

	"github.com/offsite-backup/offsite/core/filetree"
)

// Local makes a file of the machine that the Disk is in, open for writing. Its path
// lasts, and its content as that of any file. A Disk links to such files and clones
// them.
func (d *Disk) Local(path string) io.WriterAt {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.local == nil {
		d.local = map[string]*node{}
	}
	d.local[path] = &node{mode: 0o600, time: d.now()}
	return &handle{disk: d, node: d.local[path], name: path, write: true}
}

// OpenLocal opens a file that Local made.
func (d *Disk) OpenLocal(ctx context.Context, path string) (filetree.LocalFile, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.local[path]
	if n == nil {
		return nil, fs.ErrNotExist
	}
	return local{&handle{disk: d, node: n, name: path}}, nil
}

// A local is an open file that Local made.
type local struct{ *handle }

// Link gives the file another name.
func (l local) Link(ctx context.Context, name string) error {
	return l.disk.at(ctx, "link", name, func(dir *node, base string, n *node) error {
		if n != nil {
			return fs.ErrExist
		}
		dir.names[base] = l.node
		return nil
	})
}

// Clone copies what the file holds.
func (l local) Clone(ctx context.Context, name string) error {
	return l.disk.at(ctx, "clone", name, func(_ *node, _ string, n *node) error {
		if n == nil {
			return fs.ErrNotExist
		}
		n.data = append([]byte(nil), l.node.data...)
		n.time = l.disk.now()
		return nil
	})
}
