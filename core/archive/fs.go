package archive

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// FS returns the archive as a read-only file system whose calls end with ctx. It
// has the directories above the paths that were backed up, too. Symbolic links
// are not followed, since they lead out of an archive as often as not: Open gives
// the link itself, which has nothing to read, and it is a fs.ReadLinkFS. Names
// need not be UTF-8. The Sys of a fs.FileInfo is its Entry.
func (r *Reader) FS(ctx context.Context) fs.FS { return &fileSystem{ctx, r} }

// A fileSystem looks at an archive. The calls of fs.FS have no context of their own.
type fileSystem struct {
	ctx context.Context
	r   *Reader
}

// Open opens what is called name.
func (f *fileSystem) Open(name string) (fs.File, error) {
	e, err := f.find("open", name)
	if err != nil {
		return nil, err
	}
	if e.Mode.IsDir() {
		return &openDir{fs: f, entry: e}, nil
	}
	return &openFile{fs: f, entry: e}, nil
}

// Stat looks at what is called name, and a symbolic link itself.
func (f *fileSystem) Stat(name string) (fs.FileInfo, error) {
	e, err := f.find("stat", name)
	return fileInfo{e}, err
}

// Lstat is Stat.
func (f *fileSystem) Lstat(name string) (fs.FileInfo, error) {
	e, err := f.find("lstat", name)
	return fileInfo{e}, err
}

// ReadLink returns where a symbolic link points.
func (f *fileSystem) ReadLink(name string) (string, error) {
	e, err := f.find("readlink", name)
	if err == nil && e.Mode.Type() != fs.ModeSymlink {
		err = &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return e.Link, err
}

// ReadDir returns what is in a directory, sorted.
func (f *fileSystem) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := f.find("readdir", name)
	if err == nil && !e.Mode.IsDir() {
		err = &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	if err != nil {
		return nil, err
	}
	return f.children(e.Name)
}

// find returns the entry of name, or one made up for a directory that has none of
// its own but something in it.
func (f *fileSystem) find(op, name string) (Entry, error) {
	if !fs.ValidPath(strings.ToValidUTF8(name, "?")) {
		return Entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if name == "." {
		return directory(""), nil
	}
	for e, err := range f.r.from(f.ctx, name) {
		switch {
		case err != nil:
			return Entry{}, &fs.PathError{Op: op, Path: name, Err: err}
		case e.Name == name:
			return e, nil
		case within(e.Name, name):
			return directory(name), nil
		}
		break
	}
	return Entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// directory is an Entry for a directory that is not in the archive itself.
func directory(name string) Entry {
	return Entry{Name: name, Mode: fs.ModeDir | 0o555, ModTime: time.Unix(0, 0).UTC()}
}

// children returns what is in a directory. It reads the tables that have
// something right in it and leaps over what lies deeper.
func (f *fileSystem) children(dir string) (list []fs.DirEntry, err error) {
	prefix := dir + "/"
	if dir == "" {
		prefix = ""
	}
	for at, more := prefix+"\x01", true; more; {
		more = false
		for e, err := range f.r.from(f.ctx, at) {
			if err != nil {
				return nil, err
			}
			if !within(e.Name, dir) {
				return list, nil
			}
			if base, _, deep := strings.Cut(e.Name[len(prefix):], "/"); deep {
				e = directory(prefix + base)
			}
			list = append(list, fs.FileInfoToDirEntry(fileInfo{e}))
			if e.Mode.IsDir() {
				// No byte but the slash, which orders first, comes before this one.
				at, more = e.Name+"\x01", true
				break
			}
		}
	}
	return list, nil
}

// An openFile is a file of an archive. Its content is asked for when it is read.
type openFile struct {
	fs    *fileSystem
	entry Entry

	mu      sync.Mutex
	content io.ReadCloser
	closed  bool
}

// Stat tells what the archive says of the file.
func (o *openFile) Stat() (fs.FileInfo, error) { return fileInfo{o.entry}, nil }

// Read reads on.
func (o *openFile) Read(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return 0, o.failed(fs.ErrClosed)
	}
	if o.content == nil {
		c, err := o.fs.r.Open(o.fs.ctx, o.entry)
		if err != nil {
			return 0, o.failed(err)
		}
		o.content = c
	}
	n, err := o.content.Read(p)
	if err != nil && err != io.EOF {
		err = o.failed(err)
	}
	return n, err
}

func (o *openFile) failed(err error) error {
	return &fs.PathError{Op: "read", Path: o.entry.Name, Err: err}
}

// Close ends reading.
func (o *openFile) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.content == nil || o.closed {
		o.closed = true
		return nil
	}
	o.closed = true
	return o.content.Close()
}

// An openDir is a directory of an archive.
type openDir struct {
	fs    *fileSystem
	entry Entry

	mu   sync.Mutex
	read bool
	rest []fs.DirEntry // what ReadDir has not returned, once read
}

// Stat tells what the archive says of the directory.
func (o *openDir) Stat() (fs.FileInfo, error) { return fileInfo{o.entry}, nil }

// Read answers an error.
func (o *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: o.entry.Name, Err: core.Errorf(core.ErrInvalid, "it is a directory")}
}

// Close does nothing.
func (o *openDir) Close() error { return nil }

// ReadDir returns the next n of what is in the directory.
func (o *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.read {
		list, err := o.fs.children(o.entry.Name)
		if err != nil {
			return nil, &fs.PathError{Op: "readdir", Path: o.entry.Name, Err: err}
		}
		o.rest, o.read = list, true
	}
	if n <= 0 {
		n = len(o.rest)
	} else if len(o.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(o.rest))
	list := o.rest[:n:n]
	o.rest = o.rest[n:]
	return list, nil
}

// A fileInfo tells of an Entry as fs.FileInfo does.
type fileInfo struct{ entry Entry }

func (i fileInfo) Name() string {
	if i.entry.Name == "" {
		return "."
	}
	return baseName(i.entry.Name)
}

func (i fileInfo) Size() int64        { return i.entry.Size }
func (i fileInfo) Mode() fs.FileMode  { return i.entry.Mode }
func (i fileInfo) ModTime() time.Time { return i.entry.ModTime }
func (i fileInfo) IsDir() bool        { return i.entry.Mode.IsDir() }
func (i fileInfo) Sys() any           { return i.entry }
