// Package faulty proves what is built on a filetree.FS: it makes one fail where a
// test says, keeps the order of what was done, and has a Disk that loses in a crash
// what was not synced.
//
// A test of a crash stops the FS at some operation, crashes the Disk under it, and
// looks at the Disk through a new FS:
//
//	disk := faulty.NewDisk()
//	fsys := faulty.New(disk)
//	fsys.Inject(faulty.Fault{Nth: 17, Rest: true, Err: faulty.ErrStopped})
//	… use a Store over fsys …
//	disk.Crash(func() bool { return chance.IntN(2) == 0 })
//	… look at a Store over disk …
package faulty

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
)

// A Call is a kind of operation of an FS or a File.
type Call string

// The calls.
const (
	Open            Call = "open"
	Create          Call = "create" // OpenFile that makes the file
	Lstat           Call = "lstat"
	ReadDir         Call = "readdir"
	Mkdir           Call = "mkdir"
	Remove          Call = "remove"
	RenameNoReplace Call = "renamenoreplace"
	Link            Call = "link"
	Rename          Call = "rename"
	SyncDir         Call = "syncdir"
	Read            Call = "read"
	Write           Call = "write"
	Stat            Call = "stat"
	Truncate        Call = "truncate"
	Sync            Call = "sync"
	TryLock         Call = "trylock"
	Close           Call = "close"  // of a file
	Unlock          Call = "unlock" // Close of a file that has the lock
	OpenLocal       Call = "openlocal"
	LinkLocal       Call = "linklocal" // Link of a LocalFile
	Clone           Call = "clone"
)

// An Op is one operation that was asked for.
type Op struct {
	Call Call
	Name string
	To   string // the other name of a rename or link
	Size int    // bytes to read or write
}

// A Fault is something that goes wrong. The operations that it counts are those
// since it was injected.
type Fault struct {
	Call Call  // what it concerns; "" means every operation
	Nth  int   // which of them, from 1
	Rest bool  // whether it concerns all after that too
	Late bool  // whether the operation is done and only its answer is lost
	Err  error // the answer; nil says that it was done

	Meet func() // called first, where it is not nil; it may end the process

	count int
}

// ErrStopped answers what a process that was killed never asks.
var ErrStopped error = core.Errorf(core.ErrUnavailable, "the process was killed")

// An FS is a filetree.FS with faults. It is safe for concurrent use.
type FS struct {
	under filetree.FS

	mu     sync.Mutex
	faults []*Fault
	space  int64 // bytes that may yet be written; less than 0 means no limit
	fired  int
	ops    []Op
}

var (
	_ filetree.FS      = (*FS)(nil)
	_ filetree.LocalFS = (*FS)(nil)
)

// New returns an FS without faults over another.
func New(under filetree.FS) *FS { return &FS{under: under, space: -1} }

// Inject adds a fault.
func (f *FS) Inject(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, &fault)
}

// Space makes the place full after so many more bytes have been written: the write
// that does not fit writes what fits and answers core.ErrNoSpace. Less than 0 means
// no limit.
func (f *FS) Space(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.space = bytes
}

// Fired is how many operations met a fault. A test whose fault has not fired has
// shown nothing.
func (f *FS) Fired() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// Ops are the operations so far, in the order in which they were asked for.
func (f *FS) Ops() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ops)
}

// do records an operation and does it, unless a fault stands in its way.
func (f *FS) do(op Op, done func() error) error {
	fault := f.meets(op)
	if fault == nil {
		return done()
	}
	if fault.Meet != nil {
		fault.Meet()
	}
	if fault.Late {
		if err := done(); err != nil {
			return err
		}
	}
	return fault.Err
}

func (f *FS) meets(op Op) (met *Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops = append(f.ops, op)
	for _, fault := range f.faults {
		if fault.Call != "" && fault.Call != op.Call {
			continue
		}
		fault.count++
		if met == nil && (fault.count == fault.Nth || fault.Rest && fault.count > fault.Nth) {
			met = fault
			f.fired++
		}
	}
	return met
}

// take uses up space for n bytes and returns how many there were.
func (f *FS) take(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.space < 0 {
		return n
	}
	fits := int(min(int64(n), f.space))
	f.space -= int64(fits)
	if fits < n {
		f.fired++
	}
	return fits
}

// OpenFile opens a file that has the same faults.
func (f *FS) OpenFile(ctx context.Context, name string, flag int) (file filetree.File, err error) {
	call := Open
	if flag&os.O_CREATE != 0 {
		call = Create
	}
	err = f.do(Op{Call: call, Name: name}, func() error {
		file, err = f.under.OpenFile(ctx, name, flag)
		return err
	})
	if err != nil {
		if file != nil {
			_ = file.Close() // the answer is lost
		}
		return nil, err
	}
	return &open{fs: f, name: name, file: file}, nil
}

// Lstat asks the FS below.
func (f *FS) Lstat(ctx context.Context, name string) (info fs.FileInfo, err error) {
	err = f.do(Op{Call: Lstat, Name: name}, func() error {
		info, err = f.under.Lstat(ctx, name)
		return err
	})
	return info, err
}

// ReadDir asks the FS below.
func (f *FS) ReadDir(ctx context.Context, name string) (infos []fs.FileInfo, err error) {
	err = f.do(Op{Call: ReadDir, Name: name}, func() error {
		infos, err = f.under.ReadDir(ctx, name)
		return err
	})
	return infos, err
}

// Mkdir asks the FS below.
func (f *FS) Mkdir(ctx context.Context, name string) error {
	return f.do(Op{Call: Mkdir, Name: name}, func() error { return f.under.Mkdir(ctx, name) })
}

// Remove asks the FS below.
func (f *FS) Remove(ctx context.Context, name string) error {
	return f.do(Op{Call: Remove, Name: name}, func() error { return f.under.Remove(ctx, name) })
}

// RenameNoReplace asks the FS below.
func (f *FS) RenameNoReplace(ctx context.Context, from, to string) error {
	return f.do(Op{Call: RenameNoReplace, Name: from, To: to}, func() error { return f.under.RenameNoReplace(ctx, from, to) })
}

// Link asks the FS below.
func (f *FS) Link(ctx context.Context, from, to string) error {
	return f.do(Op{Call: Link, Name: from, To: to}, func() error { return f.under.Link(ctx, from, to) })
}

// Rename asks the FS below.
func (f *FS) Rename(ctx context.Context, from, to string) error {
	return f.do(Op{Call: Rename, Name: from, To: to}, func() error { return f.under.Rename(ctx, from, to) })
}

// SyncDir asks the FS below.
func (f *FS) SyncDir(ctx context.Context, name string) error {
	return f.do(Op{Call: SyncDir, Name: name}, func() error { return f.under.SyncDir(ctx, name) })
}

// OpenLocal opens a file of this machine that has the same faults, if the FS below
// has such a thing. Closing it is no operation.
func (f *FS) OpenLocal(ctx context.Context, path string) (file filetree.LocalFile, err error) {
	local, ok := f.under.(filetree.LocalFS)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	err = f.do(Op{Call: OpenLocal, Name: path}, func() error {
		file, err = local.OpenLocal(ctx, path)
		return err
	})
	if err != nil {
		if file != nil {
			_ = file.Close() // the answer is lost
		}
		return nil, err
	}
	return &localFile{file, f, path}, nil
}

// A localFile is a file of this machine, of an FS with faults.
type localFile struct {
	filetree.LocalFile
	fs   *FS
	path string
}

func (l *localFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = l.fs.do(Op{Call: Read, Name: l.path, Size: len(p)}, func() error {
		n, err = l.LocalFile.ReadAt(p, off)
		return err
	})
	return n, err
}

func (l *localFile) Link(ctx context.Context, name string) error {
	return l.fs.do(Op{Call: LinkLocal, Name: l.path, To: name}, func() error { return l.LocalFile.Link(ctx, name) })
}

func (l *localFile) Clone(ctx context.Context, name string) error {
	return l.fs.do(Op{Call: Clone, Name: l.path, To: name}, func() error { return l.LocalFile.Clone(ctx, name) })
}

// Kind asks the FS below.
func (f *FS) Kind(err error) core.ErrorKind { return f.under.Kind(err) }

// Close closes the FS below.
func (f *FS) Close() error { return f.under.Close() }

// An open file of an FS with faults.
type open struct {
	fs   *FS
	name string
	file filetree.File

	locked bool
}

func (o *open) ReadAt(p []byte, off int64) (n int, err error) {
	err = o.fs.do(Op{Call: Read, Name: o.name, Size: len(p)}, func() error {
		n, err = o.file.ReadAt(p, off)
		return err
	})
	return n, err
}

func (o *open) WriteAt(p []byte, off int64) (n int, err error) {
	err = o.fs.do(Op{Call: Write, Name: o.name, Size: len(p)}, func() error {
		fits := o.fs.take(len(p))
		n, err = o.file.WriteAt(p[:fits], off)
		if err == nil && fits < len(p) {
			err = core.Errorf(core.ErrNoSpace, "%s: no space for %d bytes", o.name, len(p)-fits)
		}
		return err
	})
	return n, err
}

func (o *open) Stat() (info fs.FileInfo, err error) {
	err = o.fs.do(Op{Call: Stat, Name: o.name}, func() error {
		info, err = o.file.Stat()
		return err
	})
	return info, err
}

func (o *open) Truncate(size int64) error {
	return o.fs.do(Op{Call: Truncate, Name: o.name}, func() error { return o.file.Truncate(size) })
}

func (o *open) Sync() error {
	return o.fs.do(Op{Call: Sync, Name: o.name}, o.file.Sync)
}

// TryLock asks the file below, if it has a lock.
func (o *open) TryLock() (held bool, err error) {
	locker, ok := o.file.(filetree.Locker)
	if !ok {
		return false, errors.ErrUnsupported
	}
	err = o.fs.do(Op{Call: TryLock, Name: o.name}, func() error {
		held, err = locker.TryLock()
		return err
	})
	o.locked = held && err == nil
	return o.locked, err
}

// Close always closes the file, whatever it answers.
func (o *open) Close() error {
	closed := o.file.Close()
	call := Close
	if o.locked {
		call = Unlock
	}
	return o.fs.do(Op{Call: call, Name: o.name}, func() error { return closed })
}
