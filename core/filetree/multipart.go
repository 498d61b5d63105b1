package filetree

import (
	"context"
	"errors"
	"hash"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
	"github.com/offsite-backup/offsite/core/transfer"
)

// Begin makes the partial file of an object and its record. The upload is held until ctx ends: it is
// that of the whole upload.
func (s *Store) Begin(ctx context.Context, key, token string) (object.Multipart, error) {
	if err := checkUpload(key, token); err != nil {
		return nil, err
	}
	if p, ok := s.fs.(Preparer); ok {
		p.Prepare()
	}
	m, err := s.begin(ctx, key, token)
	if err != nil {
		return nil, err
	}
	m.bare, m.hold().known = false, true
	if err := m.enter(ctx, false); err != nil {
		return nil, err
	}
	if err = s.create(ctx, m.record()); errors.Is(err, fs.ErrExist) {
		err = nil // as with the partial file
	}
	if err = s.fail(ctx, err); err == nil {
		m.hold().begun()
		err = s.syncDirs(ctx, tmpDir)
	}
	if m.leave(err != nil); err != nil {
		return nil, err
	}
	return m, nil
}

// begin makes the partial file. Nobody goes on with an upload that has no record. One
// that is there is of this upload: the token is random, and the answer to an earlier
// try may have been lost.
func (s *Store) begin(ctx context.Context, key, token string) (*multipart, error) {
	if err := s.mkdir(ctx, tmpDir); err != nil {
		return nil, err
	}
	m := s.upload(ctx, key, token)
	m.bare = true
	if err := s.create(ctx, m.partial()); err != nil && !errors.Is(err, fs.ErrExist) {
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
// removes what a commit or an abort left that was killed at its end. What it yields
// and is then written to is held until ctx ends.
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
			if !yield(m.found(), nil) {
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
		return nil, mayStay(s.breakClaim(ctx, key))
	}
	m := s.parse(ctx, info.Name())
	if m == nil || !strings.HasPrefix(m.key, prefix) {
		return nil, nil
	}
	now, err := m.there(ctx)
	if errors.Is(err, core.ErrNotFound) {
		return nil, mayStay(m.clear(ctx))
	}
	if err != nil {
		return nil, err
	}
	m.started = now.ModTime()
	return m, nil
}

// parse finds the upload that the name of a file in tmp belongs to, or nil.
func (s *Store) parse(ctx context.Context, name string) *multipart {
	for _, end := range []string{partial, record, owner, shared} {
		if key, token, ok := parseTmp(name, end); ok {
			m := s.upload(ctx, key, token)
			if end == shared {
				m.end = shared
			}
			return m
		}
	}
	return nil
}

// A multipart is an upload: a partial file and, once a part is finished, a record.
// What keeps others from writing to it is its hold.
type multipart struct {
	store   *Store
	ctx     context.Context // of the Begin or Multiparts that it is from
	key     string
	end     string                 // of the name of the partial file
	token   atomic.Pointer[string] // another one once it is adopted
	started time.Time

	find sync.Once
	held *hold       // as find found it
	lost atomic.Bool // to another who goes on with it
	bare bool        // has neither record nor owner
}

func (s *Store) upload(ctx context.Context, key, token string) *multipart {
	m := &multipart{store: s, ctx: ctx, key: key, end: partial}
	m.token.Store(&token)
	return m
}

func (m *multipart) Key() string   { return m.key }
func (m *multipart) Token() string { return *m.token.Load() }

// Started is when the upload was begun or, for one that was found, when it was last
// written to, both by the place's clock: the date of the partial file. Every part
// that is sent moves it on, also one that did not get through.
func (m *multipart) Started() time.Time { return m.started }

func (m *multipart) partial() string { return tmpName(m.key, m.Token()) + m.end }
func (m *multipart) record() string  { return tmpName(m.key, m.Token()) + record }

// there describes the partial file. One that is the object itself by now, because
// whoever linked it was killed before it removed this name, is core.ErrNotFound:
// whoever wrote to it would write to the object.
func (m *multipart) there(ctx context.Context) (fs.FileInfo, error) {
	var info, final fs.FileInfo
	var none error
	err := m.store.together(
		func() (err error) { info, err = m.store.lstat(ctx, m.partial()); return err },
		func() error { final, none = m.store.fs.Lstat(ctx, m.key); return nil },
	)
	switch {
	case err != nil:
		return nil, err
	case errors.Is(none, fs.ErrNotExist):
		return info, nil
	case none == nil && version(final) == version(info):
		return nil, core.Errorf(core.ErrNotFound, "the upload is %s by now", m.key)
	}
	return info, m.store.fail(ctx, none)
}

// Parts reads the record. What it returns lies in the partial file and, with
// Options.ReadBack or where nothing can be synced, is what the record says. Of an
// upload that another writes to it vouches for nothing.
func (m *multipart) Parts(ctx context.Context) ([]object.Part, error) {
	info, err := m.there(ctx)
	if err != nil {
		return nil, err
	}
	recorded, err := m.recorded(ctx)
	if err != nil || len(recorded) == 0 {
		return nil, err
	}
	if mine, err := m.open(ctx); !mine {
		return nil, err
	}
	f, err := m.store.open(ctx, m.partial(), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	remote, streams := f.(Streamer)
	readBack := m.store.options.ReadBack || streams && !remote.Durable()
	crc, buf := crc64nvme.New(), make([]byte, 256<<10)
	var parts []object.Part
	for _, p := range recorded {
		if p.Size > info.Size()-p.Offset {
			continue
		}
		if readBack {
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

// Put writes one part where it belongs, syncs it, and then puts it on record. It
// answers core.ErrNotFound where another goes on with the upload.
func (m *multipart) Put(ctx context.Context, p object.Part, body *io.SectionReader) error {
	text, err := line(p)
	if err != nil {
		return err
	}
	if err := m.enter(ctx, false); err != nil {
		return err
	}
	err = m.put(ctx, p, text, body)
	m.leave(err != nil)
	return err
}

func (m *multipart) put(ctx context.Context, p object.Part, text []byte, body *io.SectionReader) error {
	l := m.lease()
	l.seen = time.Now()
	if _, err := m.there(ctx); err != nil {
		return err
	}
	if err := m.forget(ctx, p); err != nil {
		return err
	}
	if err := m.write(ctx, l, p, body); err != nil {
		return err
	}
	return m.note(ctx, p.Index, text)
}

// write copies the bytes of a part, whose size and checksum body has to have, into
// the partial file.
func (m *multipart) write(ctx context.Context, l *lease, p object.Part, body *io.SectionReader) error {
	return m.store.edit(ctx, m.partial(), func(f File) error {
		in := &source{ctx: ctx, lease: l, body: body, left: p.Size, crc: crc64nvme.New()}
		var err error
		if remote, ok := f.(Streamer); ok {
			err = remote.Fill(in, p.Offset)
		} else {
			_, err = io.CopyBuffer(io.NewOffsetWriter(f, p.Offset), in, make([]byte, min(max(p.Size, 1), 1<<20)))
		}
		switch {
		case in.err != nil:
			return in.err
		case err != nil:
			return m.store.fail(ctx, err)
		case body.Size() != p.Size || core.CRC64(in.crc.Sum64()) != p.CRC64:
			return core.Errorf(core.ErrChanged, "the source gives other bytes than before")
		}
		return nil
	})
}

// A source is a part on its way into the partial file, as long as that may be written
// to. It is for one goroutine.
type source struct {
	ctx   context.Context
	lease *lease
	body  *io.SectionReader
	done  int64
	left  int64
	crc   hash.Hash64
	err   error // why it ended early
}

func (s *source) Read(p []byte) (int, error) {
	if s.err == nil && s.left == 0 {
		return 0, io.EOF
	}
	if s.err == nil && s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
	}
	if s.err != nil {
		return 0, s.err
	}
	p = p[:min(int64(len(p)), s.left)]
	n, err := s.body.ReadAt(p, s.done)
	if n < len(p) {
		s.err = fromSource(err)
		return 0, s.err
	}
	if s.err = s.lease.check(s.ctx); s.err != nil {
		return 0, s.err
	}
	s.crc.Write(p)
	s.done, s.left = s.done+int64(n), s.left-int64(n)
	return n, nil
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

// Abort removes the upload, unless the place's lock shows that another writes to it:
// that one has to end it, and this is core.ErrUnavailable. Whoever lost the upload to
// another has nothing to remove.
func (m *multipart) Abort(ctx context.Context) error {
	if m.lost.Load() {
		return nil
	}
	if err := m.free(ctx); errors.Is(err, errHeld) {
		return core.Errorf(core.ErrUnavailable, "another process is sending %s; what it leaves can be removed when it has ended", m.key)
	} else if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	defer m.unhold()
	return m.clear(ctx)
}

// mayStay forgives that leftovers cannot be removed: who may remove nothing makes and
// reads backups all the same.
func mayStay(err error) error {
	if errors.Is(err, core.ErrDenied) {
		return nil
	}
	return err
}

// clear removes the names of the upload. An object that one of them is a second
// name of stays.
func (m *multipart) clear(ctx context.Context) error {
	remove := func(name string) func() error {
		return func() error { return m.store.remove(ctx, name) }
	}
	steps := []func() error{remove(m.partial())}
	if !m.bare {
		steps = append(steps, remove(m.record()), remove(m.owner()))
	}
	err := m.store.together(steps...)
	if err == nil {
		m.store.drop(m.partial())
	}
	return err
}
