package platform_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/gofrs/flock"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
	"github.com/offsite-backup/offsite/core/object"
	"github.com/offsite-backup/offsite/core/transfer"
)

// A place is the directory of one agent, as plain data that a child process is
// given too.
type place struct {
	Name   string
	Part   int64 // bytes in a part
	Away   bool  // it does not answer
	Full   bool  // it takes no byte
	Links  bool  // it takes an archive by a hard link; one place at most, or two would have one copy
	Breaks int64 // operations after which it goes away; 0: it does not
}

// agent is the agent of a place. moment is called before each of its operations.
func (p *place) agent(dir string, moment func(where string)) *conduct {
	c := &conduct{place: p, dir: filepath.Join(dir, p.Name), moment: moment}
	c.Agent = object.New(filetree.New(c, filetree.Options{
		Limits:   transfer.Limits{PartSize: p.Part, Workers: 2},
		ReadBack: true,
	}), core.Env{Name: p.Name})
	return c
}

// A conduct is an agent, and the file system below it, which does what its place
// is said to do.
type conduct struct {
	*object.Agent
	*place
	dir    string
	moment func(string)
	done   atomic.Int64
	linked atomic.Int64
}

func (c *conduct) Name() string { return c.place.Name }
func (c *conduct) Close() error { return nil }

// broke says that it went away meanwhile.
func (c *conduct) broke() bool { return c.Breaks > 0 && c.done.Load() >= c.Breaks }

// at is the way to a name, where the place answers.
func (c *conduct) at(ctx context.Context, name string) (string, error) {
	c.moment(c.place.Name)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if c.Away || c.Breaks > 0 && c.done.Add(1) >= c.Breaks {
		return "", core.Errorf(core.ErrUnavailable, "%s is away", c.place.Name)
	}
	return filepath.Join(c.dir, filepath.FromSlash(name)), nil
}

func (c *conduct) OpenFile(ctx context.Context, name string, flag int) (filetree.File, error) {
	path, err := c.at(ctx, name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return &openFile{File: f, of: c, ctx: ctx}, nil
}

func (c *conduct) Lstat(ctx context.Context, name string) (fs.FileInfo, error) {
	path, err := c.at(ctx, name)
	if err != nil {
		return nil, err
	}
	return os.Lstat(path)
}

func (c *conduct) ReadDir(ctx context.Context, name string) (infos []fs.FileInfo, err error) {
	path, err := c.at(ctx, name)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			infos = append(infos, info)
		}
	}
	return infos, err
}

func (c *conduct) Mkdir(ctx context.Context, name string) error {
	return c.do(ctx, name, func(path string) error {
		if name == "." {
			return os.MkdirAll(path, 0o700)
		}
		return os.Mkdir(path, 0o700)
	})
}

func (c *conduct) do(ctx context.Context, name string, f func(string) error) error {
	path, err := c.at(ctx, name)
	if err != nil {
		return err
	}
	return f(path)
}

func (c *conduct) Remove(ctx context.Context, name string) error { return c.do(ctx, name, os.Remove) }

func (c *conduct) RenameNoReplace(context.Context, string, string) error {
	return errors.ErrUnsupported
}

func (c *conduct) Link(ctx context.Context, from, to string) error {
	return c.do(ctx, to, func(path string) error { return os.Link(filepath.Join(c.dir, filepath.FromSlash(from)), path) })
}

func (c *conduct) Rename(ctx context.Context, from, to string) error {
	return c.do(ctx, to, func(path string) error { return os.Rename(filepath.Join(c.dir, filepath.FromSlash(from)), path) })
}

// SyncDir does nothing: a process dies here, never a machine.
func (c *conduct) SyncDir(ctx context.Context, name string) error {
	return c.do(ctx, name, func(string) error { return nil })
}

func (c *conduct) Kind(err error) core.ErrorKind {
	if errors.Is(err, fs.ErrNotExist) {
		return core.ErrNotFound
	}
	if errors.Is(err, fs.ErrExist) {
		return core.ErrExists
	}
	return core.ErrUnavailable
}

// OpenLocal opens an archive that lies in the spool.
func (c *conduct) OpenLocal(ctx context.Context, path string) (filetree.LocalFile, error) {
	if _, err := c.at(ctx, "."); err != nil {
		return nil, err
	}
	if !c.Links {
		return nil, errors.ErrUnsupported
	}
	f, err := os.Open(path)
	return localFile{f, c}, err
}

// A localFile is one of the spool.
type localFile struct {
	*os.File
	of *conduct
}

func (f localFile) Link(ctx context.Context, name string) error {
	return f.of.do(ctx, name, func(path string) error {
		f.of.linked.Add(1)
		return os.Link(f.Name(), path)
	})
}

func (f localFile) Clone(context.Context, string) error { return errors.ErrUnsupported }

// An openFile is one of a place.
type openFile struct {
	*os.File
	of   *conduct
	ctx  context.Context
	lock *flock.Flock
}

func (f *openFile) WriteAt(p []byte, off int64) (int, error) {
	if _, err := f.of.at(f.ctx, "."); err != nil {
		return 0, err
	}
	if f.of.Full {
		n, err := f.File.WriteAt(p[:len(p)/2], off)
		return n, errors.Join(err, core.Errorf(core.ErrNoSpace, "%s is full", f.of.place.Name))
	}
	return f.File.WriteAt(p, off)
}

func (f *openFile) Sync() error {
	_, err := f.of.at(f.ctx, ".")
	return err
}

// TryLock takes the lock of the system, which ends with the process.
func (f *openFile) TryLock() (held bool, err error) {
	f.lock = flock.New(f.Name())
	return f.lock.TryLock()
}

func (f *openFile) Close() error {
	if f.lock != nil {
		return errors.Join(f.lock.Close(), f.File.Close())
	}
	return f.File.Close()
}

// A death is the moment at which a process ends itself.
type death struct {
	Where string // the name of a place, "hooks", or "clock", which each step of a ledger is dated by
	After int64  // how many moments of those it lives; 0: it does not die
	lived atomic.Int64
}

// moment is one of those.
func (d *death) moment(where string) {
	if where != d.Where || d.After == 0 || d.lived.Add(1) != d.After {
		return
	}
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "did not die:", err)
		os.Exit(2)
	}
	select {}
}
