package filetree

import (
	"context"
	"io"
	"path"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// whole makes the object of all bytes of body.
func (m *multipart) whole(ctx context.Context, body *io.SectionReader, sum core.CRC64) (object.Object, error) {
	if err := m.write(ctx, &lease{}, object.Part{Size: body.Size(), CRC64: sum}, body); err != nil {
		return object.Object{}, err
	}
	return m.publish(ctx, body.Size())
}

// Commit compares parts with the record and gives the partial file its name. It
// answers core.ErrNotFound where another goes on with the upload.
func (m *multipart) Commit(ctx context.Context, parts []object.Part) (object.Object, error) {
	size, err := whole(parts)
	if err != nil {
		return object.Object{}, err
	}
	if err := m.enter(ctx, true); err != nil {
		return object.Object{}, err
	}
	defer m.leave(true)
	return m.commit(ctx, parts, size)
}

func (m *multipart) commit(ctx context.Context, parts []object.Part, size int64) (object.Object, error) {
	info, err := m.there(ctx)
	if err != nil {
		return object.Object{}, err
	}
	recorded, err := m.recorded(ctx)
	if err != nil {
		return object.Object{}, err
	}
	if err := compare(parts, recorded); err != nil {
		return object.Object{}, err
	}
	if info.Size() < size {
		return object.Object{}, core.Errorf(core.ErrDamaged, "the partial file has %d bytes, not %d", info.Size(), size)
	}
	err = m.store.edit(ctx, m.partial(), func(f File) error {
		if info.Size() == size {
			return nil
		}
		return m.store.fail(ctx, f.Truncate(size))
	})
	if err != nil {
		return object.Object{}, err
	}
	return m.publish(ctx, size)
}

// whole is the size of all parts, which follow each other without a gap.
func whole(parts []object.Part) (size int64, err error) {
	for i, p := range parts {
		if p.Index != i || p.Offset != size {
			return 0, core.Errorf(core.ErrInvalid, "part %d at %d does not follow %d bytes in %d parts", p.Index, p.Offset, size, i)
		}
		size += p.Size
	}
	return size, nil
}

// compare finds parts in a record, which has the order of indices.
func compare(parts, recorded []object.Part) error {
	for i, p := range parts {
		if i >= len(recorded) || recorded[i] != p {
			return core.Errorf(core.ErrChanged, "part %d is not on record as it was sent: another upload of the same id may have replaced it", p.Index)
		}
	}
	return nil
}

// publish gives the partial file its name, makes that last, and removes what is
// left of the upload.
func (m *multipart) publish(ctx context.Context, size int64) (object.Object, error) {
	s := m.store
	if err := s.mkdir(ctx, path.Dir(m.key)); err != nil {
		return object.Object{}, err
	}
	if err := s.syncSeen(ctx); err != nil {
		return object.Object{}, err
	}
	if err := s.publish(ctx, m.partial(), m.key); err != nil {
		return object.Object{}, s.exists(ctx, m.key, err)
	}
	ctx, end := outlast(ctx)
	defer end()
	if err := s.syncDirs(ctx, path.Dir(m.key)); err != nil {
		return object.Object{}, err
	}
	// What cannot be removed now is found by Multiparts.
	_ = m.clear(ctx)
	info, err := s.lstat(ctx, m.key)
	if err != nil {
		return object.Object{}, err
	}
	if info.Size() != size {
		return object.Object{}, core.Errorf(core.ErrDamaged, "%s has %d bytes, not %d", m.key, info.Size(), size)
	}
	return describe(m.key, info), nil
}
