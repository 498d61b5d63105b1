package core

import (
	"context"
	"io"
	"math"
)

// A Source is a backup on its way to agents. Several agents may read one Source
// at once, each in its own time, and while it is still being written.
//
// A Source that failed answers its error to every read and to Backup.
type Source interface {
	// Draft is what is known from the start: id, archive key, media type, job. Its
	// Size is for planning only: the size where that is known, else the most that
	// is expected, else 0. It never changes.
	Draft() Backup

	// Reader reads the archive's bytes. A read blocks until those bytes exist,
	// gives io.EOF past the end, and ends with ctx. It is safe for concurrent use,
	// and reading the same bytes again gives the same.
	Reader(ctx context.Context) io.ReaderAt

	// Backup is the metadata. It blocks until the archive is sealed; then Size,
	// SHA256 and, of most sources, Chunks are those of the bytes that Reader gives.
	Backup(ctx context.Context) (Backup, error)
}

// A SealedFile is a Source whose archive, once Backup has returned, is a local
// file that nobody writes again; until then bytes are only appended to it, under the
// same path. An agent on the same file system may link to it instead of copying it.
type SealedFile interface {
	SealedFile() (path string)
}

// NewReader returns the whole of src in order, from its start.
func NewReader(ctx context.Context, src Source) io.Reader {
	return io.NewSectionReader(src.Reader(ctx), 0, math.MaxInt64)
}
