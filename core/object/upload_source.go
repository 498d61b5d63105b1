package object

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"sync"

	"github.com/offsite-backup/offsite/core"
)

// backup waits for the source's metadata.
func (u *upload) backup() (core.Backup, error) {
	b, err := u.src.Backup(u)
	if err != nil && u.Err() == nil {
		u.failed.store(err)
	}
	return b, err
}

// absent says that there is nothing under a key, be it that the place itself is
// made by the upload.
func absent(err error) bool {
	return errors.Is(err, core.ErrNotFound) || errors.Is(err, core.ErrNoPlace)
}

var errGone = errors.New("this id was deleted on purpose; a new backup needs a new id")

// free answers ErrExists when the id is marked as gone.
func (u *upload) free() error {
	_, err := u.agent.store.Stat(u, goneKey(u.id))
	switch {
	case err == nil:
		return core.Errorf(core.ErrExists, "%w", errGone)
	case absent(err):
		return nil
	}
	return err
}

// sealed waits for the metadata and compares it with what was read.
func (u *upload) sealed() (core.Backup, error) {
	b, err := u.backup()
	if err != nil {
		return core.Backup{}, err
	}
	if _, err := b.Encode(); err != nil {
		return core.Backup{}, err
	}
	if b.ID != u.id || b.Archive != u.draft.Archive {
		return core.Backup{}, core.Errorf(core.ErrInvalid, "the source sealed %s as %s", u.draft.Archive, b.Archive)
	}
	if b.Size != u.size {
		return core.Backup{}, core.Errorf(core.ErrChanged, "the source gave %d bytes, its metadata says %d", u.size, b.Size)
	}
	if sum, has := b.Chunks.Whole(b.Size); has && sum != u.sum {
		return core.Backup{}, core.Errorf(core.ErrChanged, "the source's bytes do not match the checksums of its metadata")
	}
	if !b.OnePass() {
		return b, u.compareSHA256(b, core.NewReader(u, u.src), core.ErrChanged)
	}
	return b, nil
}

func (u *upload) compareSHA256(b core.Backup, r io.Reader, kind core.ErrorKind) error {
	sum := sha256.New()
	n, err := io.CopyBuffer(sum, struct{ io.Reader }{r}, make([]byte, 256<<10))
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != b.Size || got != b.SHA256 {
		return core.Errorf(kind, "%d bytes with SHA-256 %s, the metadata says %d and %s", n, got, b.Size, b.SHA256)
	}
	return nil
}

// reader reads the source until ctx ends, and remembers the source's own error,
// which must not get lost in what a driver makes of it.
func (u *upload) reader(ctx context.Context) io.ReaderAt {
	return sourceReader{ctx, u.src.Reader(ctx), &u.failed}
}

type sourceReader struct {
	ctx    context.Context
	source io.ReaderAt
	failed *firstError
}

func (r sourceReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.source.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) && r.ctx.Err() == nil {
		r.failed.store(err)
	}
	return n, err
}

// A firstError keeps the first error that it is given.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (e *firstError) store(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
}

func (e *firstError) load() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}
