package filetree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
	"github.com/offsite-backup/offsite/core/transfer"
)

// A share is an upload whose bytes lie in a file of this machine that belongs to
// somebody else: its name in tmp is a second name of that file, or of a clone of
// it. Nothing here opens that name for writing, and the name has no record, so
// neither this process nor a later one writes to it or goes on with it.
type share struct {
	*multipart
	file  LocalFile // nil of one that was found
	clone bool
	close func() error // of file; once is enough
}

var errNotShared = core.Errorf(core.ErrUnsupported, "this place takes no file of this machine without copying it")

// Share links to the file at path, or else clones it, which shows whether that can be
// done; a clone is made again by Commit.
func (s *Store) Share(ctx context.Context, key, token, path string) (object.Multipart, error) {
	if err := checkUpload(key, token); err != nil {
		return nil, err
	}
	local, ok := s.fs.(LocalFS)
	if !ok {
		return nil, errNotShared
	}
	if err := s.mkdir(ctx, tmpDir); err != nil {
		return nil, err
	}
	file, err := local.OpenLocal(ctx, path)
	if err != nil {
		return nil, unshared(ctx, err)
	}
	m := &share{multipart: s.upload(ctx, key, token), file: file, close: sync.OnceValue(file.Close)}
	m.end = shared
	if err := m.begin(); err != nil {
		return nil, errors.Join(unshared(ctx, err), m.Abort(ctx))
	}
	return m, nil
}

func (m *share) begin() error {
	linked := m.file.Link(m.ctx, m.partial())
	if linked != nil {
		m.clone = true
		if err := m.store.create(m.ctx, m.partial()); err != nil {
			return errors.Join(linked, err)
		}
		if err := m.file.Clone(m.ctx, m.partial()); err != nil {
			return errors.Join(linked, err)
		}
	}
	info, err := m.store.lstat(m.ctx, m.partial())
	if err == nil {
		m.started = info.ModTime()
	}
	return err
}

// unshared says that a copy is needed. If the reason is one that copies suffer from
// too, it shows again there.
func unshared(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", errNotShared, err)
}

// found is m as Multiparts yields it.
func (m *multipart) found() object.Multipart {
	if m.end == shared {
		return &share{multipart: m}
	}
	return m
}

var errNotOurs = core.Errorf(core.ErrNotFound, "the upload is of a file that only its own process can go on with")

// Parts are none: there is nothing to go on with.
func (m *share) Parts(ctx context.Context) ([]object.Part, error) {
	_, err := m.there(ctx)
	return nil, err
}

// Put compares a part with the file.
func (m *share) Put(ctx context.Context, p object.Part, _ *io.SectionReader) error {
	if m.file == nil {
		return errNotOurs
	}
	crc := crc64nvme.New()
	_, err := transfer.Sum(&reader{ctx: ctx, store: m.store, file: m.file, at: p.Offset, left: p.Size}, crc, make([]byte, 256<<10))
	if err == nil && core.CRC64(crc.Sum64()) != p.CRC64 {
		err = fmt.Errorf("the bytes of part %d are others", p.Index)
	}
	if err != nil {
		return unshared(ctx, err)
	}
	return nil
}

// Commit makes the file the object. A clone is made now, of all its bytes. The file is
// closed however that goes: whoever finds that the object is there needs no Abort.
func (m *share) Commit(ctx context.Context, parts []object.Part) (object.Object, error) {
	if m.file == nil {
		return object.Object{}, errNotOurs
	}
	defer m.close() // nothing was written by it
	size, err := whole(parts)
	if err != nil {
		return object.Object{}, err
	}
	if _, err := m.there(ctx); err != nil {
		return object.Object{}, err
	}
	if m.clone {
		if err := m.file.Clone(ctx, m.partial()); err != nil {
			return object.Object{}, unshared(ctx, err)
		}
	}
	if err := m.sync(ctx, size); err != nil {
		return object.Object{}, err
	}
	return m.publish(ctx, size)
}

// sync makes the bytes last. Whoever wrote them may not have.
func (m *share) sync(ctx context.Context, size int64) error {
	f, err := m.store.open(ctx, m.partial(), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return m.store.fail(ctx, err)
	}
	if info.Size() != size {
		return unshared(ctx, fmt.Errorf("the file has %d bytes, not %d", info.Size(), size))
	}
	return m.store.fail(ctx, f.Sync())
}

// Abort removes the name, and never the file that it may be a second name of.
func (m *share) Abort(ctx context.Context) error {
	if m.file == nil {
		return m.clear(ctx)
	}
	later, end := outlast(ctx)
	defer end()
	return errors.Join(m.clear(later), m.close())
}
