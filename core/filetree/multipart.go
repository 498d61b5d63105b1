package filetree

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"strings"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
	"github.com/offsite-backup/offsite/core/transfer"
)

// Begin makes the partial file of an object.
func (s *Store) Begin(ctx context.Context, key, token string) (object.Multipart, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if !tokens.MatchString(token) {
		return nil, core.Errorf(core.ErrInvalid, "%.140q is no token", token)
	}
	m, err := s.begin(ctx, key, token)
	if err != nil {
		return nil, err
	}
	if err := s.syncDirs(ctx, tmpDir); err != nil {
		return nil, err
	}
	return m, nil
}

func (s *Store) begin(ctx context.Context, key, token string) (*multipart, error) {
	if err := s.mkdir(ctx, tmpDir); err != nil {
		return nil, err
	}
	m := &multipart{store: s, key: key, token: token}
	if err := s.create(ctx, m.partial()); err != nil {
		return nil, s.fail(ctx, err)
	}
	info, err := s.lstat(ctx, m.partial())
	if err != nil {
		return nil, err
	}
	m.started = info.ModTime()
	return m, nil
}

// Multiparts yields the uploads whose partial files are in tmp, those of Put too. It
// removes what a commit or an abort left that was killed at its end.
func (s *Store) Multiparts(ctx context.Context, prefix string) iter.Seq2[object.Multipart, error] {
	return func(yield func(object.Multipart, error) bool) {
		infos, err := s.dir(ctx, tmpDir)
		if err != nil {
			yield(nil, err)
			return
		}
		all := map[string]bool{}
		for _, info := range infos {
			m, err := s.found(ctx, info, prefix)
			switch {
			case err != nil:
				yield(nil, err)
				return
			case m == nil || all[m.partial()]:
				continue
			}
			all[m.partial()] = true
			if !yield(m, nil) {
				return
			}
		}
	}
}

// found returns the upload that a file in tmp belongs to, or nil where that is over.
func (s *Store) found(ctx context.Context, info fs.FileInfo, prefix string) (*multipart, error) {
	if !info.Mode().IsRegular() {
		return nil, nil
	}
	if key, ok := parseClaim(info.Name()); ok && strings.HasPrefix(key, prefix) {
		return nil, s.breakClaim(ctx, key)
	}
	m := s.parse(info.Name())
	if m == nil || !strings.HasPrefix(m.key, prefix) {
		return nil, nil
	}
	now, err := m.there(ctx)
	if errors.Is(err, core.ErrNotFound) {
		return nil, m.Abort(ctx)
	}
	if err != nil {
		return nil, err
	}
	m.started = now.ModTime()
	return m, nil
}

// parse finds the upload that the name of a file in tmp belongs to, or nil.
func (s *Store) parse(name string) *multipart {
	for _, end := range []string{partial, record} {
		if key, token, ok := parseTmp(name, end); ok {
			return &multipart{store: s, key: key, token: token}
		}
	}
	return nil
}

// A multipart is an upload: a partial file and, once a part is finished, a record.
// It holds nothing open between calls.
type multipart struct {
	store      *Store
	key, token string
	started    time.Time
}

func (m *multipart) Key() string   { return m.key }
func (m *multipart) Token() string { return m.token }

// Started is when the upload was begun or, for one that was found, when it was last
// written to.
func (m *multipart) Started() time.Time { return m.started }

func (m *multipart) partial() string { return tmpName(m.key, m.token) + partial }
func (m *multipart) record() string  { return tmpName(m.key, m.token) + record }

// there describes the partial file. One that is the object itself by now, because
// whoever linked it was killed before it removed this name, is core.ErrNotFound:
// whoever wrote to it would write to the object.
func (m *multipart) there(ctx context.Context) (fs.FileInfo, error) {
	info, err := m.store.lstat(ctx, m.partial())
	if err != nil {
		return nil, err
	}
	final, err := m.store.fs.Lstat(ctx, m.key)
	if errors.Is(err, fs.ErrNotExist) {
		return info, nil
	}
	if err == nil && version(final) == version(info) {
		return nil, core.Errorf(core.ErrNotFound, "the upload is %s by now", m.key)
	}
	return info, m.store.fail(ctx, err)
}

// Parts reads the record. What it returns lies in the partial file and, with
// Options.ReadBack, is what the record says.
func (m *multipart) Parts(ctx context.Context) ([]object.Part, error) {
	info, err := m.there(ctx)
	if err != nil {
		return nil, err
	}
	recorded, err := m.recorded(ctx)
	if err != nil || len(recorded) == 0 {
		return nil, err
	}
	f, err := m.store.open(ctx, m.partial(), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	crc, buf := crc64nvme.New(), make([]byte, 256<<10)
	var parts []object.Part
	for _, p := range recorded {
		if p.Size > info.Size()-p.Offset {
			continue
		}
		if m.store.options.ReadBack {
			_, err := transfer.Sum(&reader{ctx: ctx, store: m.store, file: f, at: p.Offset, left: p.Size}, crc, buf)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil || core.CRC64(crc.Sum64()) != p.CRC64 {
				continue
			}
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// Put writes one part where it belongs, syncs it, and then puts it on record.
func (m *multipart) Put(ctx context.Context, p object.Part, body *io.SectionReader) error {
	text, err := line(p)
	if err != nil {
		return err
	}
	if _, err := m.there(ctx); err != nil {
		return err
	}
	if err := m.forget(ctx, p); err != nil {
		return err
	}
	if err := m.write(ctx, p.Offset, p.Size, p.CRC64, body); err != nil {
		return err
	}
	return m.note(ctx, p.Index, text)
}

// write copies size bytes of body, whose checksum has to be sum, into the partial
// file.
func (m *multipart) write(ctx context.Context, off, size int64, sum core.CRC64, body *io.SectionReader) error {
	return m.store.edit(ctx, m.partial(), func(f File) error {
		crc, buf := crc64nvme.New(), make([]byte, min(size, 1<<20))
		for done := int64(0); done < size; {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			piece := buf[:min(size-done, int64(len(buf)))]
			n, err := body.ReadAt(piece, done)
			if n < len(piece) {
				return fromSource(err)
			}
			crc.Write(piece)
			if _, err := f.WriteAt(piece, off+done); err != nil {
				return m.store.fail(ctx, err)
			}
			done += int64(n)
		}
		if body.Size() != size || core.CRC64(crc.Sum64()) != sum {
			return core.Errorf(core.ErrChanged, "the source gives other bytes than before")
		}
		return nil
	})
}

// fromSource keeps a source's own error as it is.
func fromSource(err error) error {
	if errors.Is(err, io.EOF) {
		return core.Errorf(core.ErrChanged, "the source ends earlier than before")
	}
	return err
}

// edit opens a file, lets f write to it, and syncs it.
func (s *Store) edit(ctx context.Context, name string, f func(File) error) error {
	file, err := s.open(ctx, name, os.O_WRONLY)
	if err != nil {
		return err
	}
	if err = f(file); err == nil {
		err = s.fail(ctx, file.Sync())
	}
	if closed := s.fail(ctx, file.Close()); err == nil {
		err = closed
	}
	return err
}

// whole makes the object of all bytes of body.
func (m *multipart) whole(ctx context.Context, body *io.SectionReader, sum core.CRC64) (object.Object, error) {
	if err := m.write(ctx, 0, body.Size(), sum, body); err != nil {
		return object.Object{}, err
	}
	return m.publish(ctx, body.Size())
}

// Commit compares parts with the record and gives the partial file its name.
func (m *multipart) Commit(ctx context.Context, parts []object.Part) (object.Object, error) {
	size, err := whole(parts)
	if err != nil {
		return object.Object{}, err
	}
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
		return object.Object{}, err
	}
	ctx, end := outlast(ctx)
	defer end()
	if err := s.syncDirs(ctx, path.Dir(m.key)); err != nil {
		return object.Object{}, err
	}
	// What cannot be removed now is found by Multiparts.
	_ = m.Abort(ctx)
	info, err := s.lstat(ctx, m.key)
	if err != nil {
		return object.Object{}, err
	}
	if info.Size() != size {
		return object.Object{}, core.Errorf(core.ErrDamaged, "%s has %d bytes, not %d", m.key, info.Size(), size)
	}
	return describe(m.key, info), nil
}

// Abort removes the names of the upload. An object that one of them is a second
// name of stays.
func (m *multipart) Abort(ctx context.Context) error {
	return errors.Join(m.store.remove(ctx, m.partial()), m.store.remove(ctx, m.record()))
}
