package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
)

// Gated is a filetree.FS whose operations ask a gate first: what Target.OpenFaulty
// needs of an agent over a filetree.FS. A fault is an error that answers errors.Is
// with the kind of core, which is what a Store gets to see of any error.
func Gated(fsys filetree.FS, gate Gate) filetree.FS { return gated{fsys, gate} }

type gated struct {
	filetree.FS
	gate Gate
}

func (g gated) ask(s Step) error { return failure(g.gate(s), s) }

func failure(f Fault, s Step) error {
	kind := map[Fault]core.ErrorKind{NoSpace: core.ErrNoSpace, Denied: core.ErrDenied}[f]
	if f == NoFault {
		return nil
	}
	if kind == "" {
		kind = core.ErrUnavailable
	}
	return fmt.Errorf("%s %s: %w", s.Op, s.Key, kind)
}

func (g gated) OpenFile(ctx context.Context, name string, flag int) (filetree.File, error) {
	op := StepRead
	if flag&os.O_CREATE != 0 {
		op = StepCreate
	}
	if err := g.ask(Step{Op: op, Key: name}); err != nil {
		return nil, err
	}
	f, err := g.FS.OpenFile(ctx, name, flag)
	if err != nil {
		return nil, err
	}
	return &gatedFile{f, g, name, flag != os.O_RDONLY}, nil
}

func (g gated) Lstat(ctx context.Context, name string) (fs.FileInfo, error) {
	if err := g.ask(Step{Op: StepRead, Key: name}); err != nil {
		return nil, err
	}
	return g.FS.Lstat(ctx, name)
}

func (g gated) ReadDir(ctx context.Context, name string) ([]fs.FileInfo, error) {
	if err := g.ask(Step{Op: StepList, Key: name}); err != nil {
		return nil, err
	}
	return g.FS.ReadDir(ctx, name)
}

func (g gated) Mkdir(ctx context.Context, name string) error {
	if err := g.ask(Step{Op: StepCreate, Key: name}); err != nil {
		return err
	}
	return g.FS.Mkdir(ctx, name)
}

func (g gated) Remove(ctx context.Context, name string) error {
	if err := g.ask(Step{Op: StepRemove, Key: name}); err != nil {
		return err
	}
	return g.FS.Remove(ctx, name)
}

func (g gated) RenameNoReplace(ctx context.Context, from, to string) error {
	if err := g.ask(Step{Op: StepPublish, Key: to, From: from}); err != nil {
		return err
	}
	return g.FS.RenameNoReplace(ctx, from, to)
}

func (g gated) Link(ctx context.Context, from, to string) error {
	if err := g.ask(Step{Op: StepPublish, Key: to, From: from}); err != nil {
		return err
	}
	return g.FS.Link(ctx, from, to)
}

func (g gated) Rename(ctx context.Context, from, to string) error {
	if err := g.ask(Step{Op: StepPublish, Key: to, From: from}); err != nil {
		return err
	}
	return g.FS.Rename(ctx, from, to)
}

func (g gated) SyncDir(ctx context.Context, name string) error {
	if err := g.ask(Step{Op: StepSyncDir, Key: name}); err != nil {
		return err
	}
	return g.FS.SyncDir(ctx, name)
}

type gatedFile struct {
	filetree.File
	g       gated
	name    string
	written bool
}

func (f *gatedFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.g.ask(Step{Op: StepRead, Key: f.name, Size: len(p)}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *gatedFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.g.ask(Step{Op: StepWrite, Key: f.name, Size: len(p)}); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *gatedFile) Sync() error {
	if err := f.g.ask(Step{Op: StepSync, Key: f.name}); err != nil {
		return err
	}
	return f.File.Sync()
}

// Close closes the file in any case, as a file system does that reports what it
// could not write.
func (f *gatedFile) Close() error {
	var err error
	if f.written {
		err = f.g.ask(Step{Op: StepClose, Key: f.name})
	}
	if closeErr := f.File.Close(); err == nil {
		err = closeErr
	}
	return err
}

// A Directory is the back door of places that are folders of this machine below
// one of them, and tells their modes.
type Directory string

var _ Raw = Directory("")

// Path is the folder of a namespace.
func (d Directory) Path(ns Namespace) string {
	return filepath.Join(string(d), filepath.FromSlash(string(ns)))
}

func (d Directory) file(ns Namespace, key string) string {
	return filepath.Join(d.Path(ns), filepath.FromSlash(key))
}

// Put is Raw's.
func (d Directory) Put(_ context.Context, ns Namespace, key string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(d.file(ns, key)), 0o700); err != nil {
		return err
	}
	temp := d.file(ns, key) + ".new" // an open file keeps its bytes
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, d.file(ns, key))
}

// Get is Raw's.
func (d Directory) Get(_ context.Context, ns Namespace, key string) ([]byte, error) {
	return os.ReadFile(d.file(ns, key))
}

// Delete is Raw's.
func (d Directory) Delete(_ context.Context, ns Namespace, key string) error {
	return os.Remove(d.file(ns, key))
}

// List is Raw's.
func (d Directory) List(ctx context.Context, ns Namespace) (keys []string, err error) {
	all, err := d.Modes(ctx, ns)
	for k, mode := range all {
		if !mode.IsDir() {
			keys = append(keys, k)
		}
	}
	return keys, err
}

// Leftovers is Raw's: every file in the folder tmp.
func (d Directory) Leftovers(ctx context.Context, ns Namespace) (left []string, err error) {
	keys, err := d.List(ctx, ns)
	for _, k := range keys {
		if len(k) > 4 && k[:4] == "tmp/" {
			left = append(left, k)
		}
	}
	return left, err
}

// Modes is Target.Modes.
func (d Directory) Modes(_ context.Context, ns Namespace) (map[string]fs.FileMode, error) {
	all := map[string]fs.FileMode{}
	err := fs.WalkDir(os.DirFS(d.Path(ns)), ".", func(path string, e fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				all[path] = info.Mode()
			}
		}
		if errors.Is(err, fs.ErrNotExist) { // by now: somebody uploads, or sweeps
			return nil
		}
		return err
	})
	return all, err
}
