package filetree

import (
	"context"
	"io"
	"io/fs"
	"os"

	"github.com/offsite-backup/offsite/core"
)

// An FS is the directory that a Store keeps its objects in: what a local
// directory and a directory on an SFTP server have in common.
//
// Names are slash-separated and relative to that directory, the place; "." is the
// place itself. Every name of a Store is valid by fs.ValidPath. Whatever lies in the
// place, symbolic links too, an FS reads and writes nothing outside of it.
//
// Errors answer errors.Is with fs.ErrNotExist, fs.ErrExist and fs.ErrPermission
// where they mean that, whatever it takes to find out; Kind says what any of them
// means. A method that the place does not offer answers errors.ErrUnsupported.
//
// Methods end with their context, and so do those of a File with the context that
// it was opened with. They retry nothing and are safe for concurrent use.
//
// An FS may be an object.Explainer too: then so is the Store, with its answers.
type FS interface {
	// OpenFile opens a file. flag is os.O_RDONLY, os.O_WRONLY, or
	// os.O_WRONLY|os.O_CREATE|os.O_EXCL; a new file has mode 0600. A Store asks for
	// the first two only where Lstat has found a regular file.
	OpenFile(ctx context.Context, name string, flag int) (File, error)

	// Lstat describes what has a name, a symbolic link itself.
	Lstat(ctx context.Context, name string) (fs.FileInfo, error)

	// ReadDir describes everything in a directory as Lstat does, in any order. What
	// vanishes meanwhile may be left out.
	ReadDir(ctx context.Context, name string) ([]fs.FileInfo, error)

	// Mkdir makes a directory of mode 0700. For "." it also makes the directories
	// above the place that are missing, and syncs what it made those in.
	Mkdir(ctx context.Context, name string) error

	// Remove removes a file. It never removes a directory with something in it.
	Remove(ctx context.Context, name string) error

	// RenameNoReplace gives a file another name in one step, fs.ErrExist when that
	// is taken.
	RenameNoReplace(ctx context.Context, from, to string) error

	// Link gives a file a second name, fs.ErrExist when that is taken.
	Link(ctx context.Context, from, to string) error

	// Rename gives a file another name, fs.ErrNotExist when it is not there. It may
	// replace what has that name, in one step.
	Rename(ctx context.Context, from, to string) error

	// SyncDir makes the names in a directory survive a loss of power. Where that is
	// not offered, or not needed, it does nothing.
	SyncDir(ctx context.Context, name string) error

	// Kind is what an error of this FS or one of its files means. It is not asked
	// for errors that have a kind of core.
	Kind(err error) core.ErrorKind

	// Close ends connections. No method runs then, and no file is open.
	Close() error
}

// A Preparer is an FS that has something to get ready before much is written at once.
type Preparer interface {
	// Prepare says that this is about to happen. It does not wait.
	Prepare()
}

// A File is an open file of an FS. Whoever opened it closes it.
type File interface {
	io.ReaderAt
	io.WriterAt

	// Stat describes the file as it is now.
	Stat() (fs.FileInfo, error)

	// Truncate sets the size of a file that is open for writing.
	Truncate(size int64) error

	// Sync makes content and size survive a loss of power. Where the place does not
	// offer that, it does nothing.
	Sync() error

	io.Closer
}

// A Streamer is a File at the other end of a network, where one who writes in order
// does not wait for each answer, and what is read in order is asked for before it is
// wanted.
type Streamer interface {
	// Stream reads n bytes from off, more than none, and ends with io.EOF or
	// io.ErrUnexpectedEOF. The caller closes it before the File.
	Stream(off, n int64) io.ReadCloser

	// Fill writes from off what r gives until it ends. What was written when it fails
	// is not known. An error of r ends it.
	Fill(r io.Reader, off int64) error

	// Durable says whether Sync does anything.
	Durable() bool
}

// A Locker is a File with a lock, where the place has such a thing.
type Locker interface {
	// TryLock takes the lock of the file, which of all open files of it, in any
	// process, one has until it is closed or its process ends. It does not wait: held
	// is false when another has it. The lock keeps nobody from reading and writing,
	// and goes with the file when that is renamed. Only a File that is open for
	// writing is asked. Where the file system has no locks that others see, it answers
	// errors.ErrUnsupported.
	TryLock() (held bool, err error)
}

// A LocalFS is an FS of files of this machine. One that lies elsewhere on the same
// file system can be made one of its own without copying its bytes.
type LocalFS interface {
	// OpenLocal opens a file of this machine to read it, wherever it lies. What is not
	// like a new file of the FS, regular, of mode 0600 and of the same owner, and what
	// is reached by a symbolic link, is errors.ErrUnsupported.
	OpenLocal(ctx context.Context, path string) (LocalFile, error)
}

// A LocalFile is an open file of this machine. Whoever opened it closes it. Where
// something is not offered between it and the place, the answer is any error.
type LocalFile interface {
	io.ReaderAt

	// Link gives the very file that is open a name in the place, which is not taken.
	// That and the path that it was opened by have to be its only names then: two
	// places with one file between them would have one copy.
	Link(ctx context.Context, name string) error

	// Clone lets the file that has a name in the place have the bytes that this one has
	// now. They share blocks until one of them is written to.
	Clone(ctx context.Context, name string) error

	io.Closer
}

var _ File = (*os.File)(nil)
