package archive

import (
	"context"
	"io"
	"io/fs"
	"iter"

	"github.com/offsite-backup/offsite/core"
)

// A Ranger gives bytes of a zstd stream. A core.Archive that is not encrypted is
// one.
type Ranger interface {
	// Range returns exactly n bytes from off; n < 0 means to the end.
	Range(ctx context.Context, off, n int64) (io.ReadCloser, error)
}

// A Reader reads an archive by its table of contents.
type Reader struct{}

// Open reads the index that toc names and checks its SHA-256.
func Open(ctx context.Context, r Ranger, toc core.TOC) (*Reader, error) {
	return nil, core.ErrUnsupported
}

// List yields the entries in walk order: below and what lies below it, or all
// where below is empty.
func (r *Reader) List(ctx context.Context, below string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) { yield(Entry{}, core.ErrUnsupported) }
}

// Find returns one entry.
func (r *Reader) Find(ctx context.Context, name string) (Entry, error) {
	return Entry{}, core.ErrUnsupported
}

// Open returns the content of a regular file, SHA-256 checked before io.EOF.
func (r *Reader) Open(ctx context.Context, e Entry) (io.ReadCloser, error) {
	return nil, core.ErrUnsupported
}

// Tar returns the decompressed tar stream from e's first header on.
func (r *Reader) Tar(ctx context.Context, e Entry) (io.ReadCloser, error) {
	return nil, core.ErrUnsupported
}

// FS returns the archive as a read-only file system.
func (r *Reader) FS(ctx context.Context) fs.FS { return nil }
