package filetree

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/offsite-backup/offsite/core/object"
)

// A Process tells the processes of this machine apart, those that have ended too.
// Where files have no locks, it lets whoever goes on with an upload find out that the
// one who wrote to it was killed.
type Process interface {
	// Name is that of this process, unlike that of every other on any machine at any
	// time, in up to 200 printable characters; "" where the system cannot tell.
	Name() string

	// Ended says that the process of a name is known to have ended: of this machine it
	// was, and it is not there any more. The name may be anything.
	Ended(name string) bool
}

// maxOwner is more than the name of any process has.
const maxOwner = 256

func (m *multipart) owner() string { return tmpName(m.key, m.Token()) + owner }

// sign leaves the name of this process beside the upload, unless it is there.
func (m *multipart) sign(ctx context.Context) error {
	name := m.store.options.Process.Name()
	if name == "" {
		return nil
	}
	return m.store.leave(ctx, m.owner(), []byte(name+"\n"))
}

// leave makes a small file, unless there is one.
func (s *Store) leave(ctx context.Context, name string, text []byte) error {
	f, err := s.fs.OpenFile(ctx, name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return s.fail(ctx, err)
	}
	if _, err = f.WriteAt(text, 0); err == nil {
		err = f.Sync()
	}
	return s.fail(ctx, errors.Join(err, f.Close()))
}

// orphaned says that whoever wrote to the upload was a process of this machine that
// has ended. A name that is not there, or is cut, says nothing.
func (m *multipart) orphaned(ctx context.Context) (bool, error) {
	info, err := m.store.fs.Lstat(ctx, m.owner())
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() > maxOwner) {
		return false, nil
	}
	if err != nil {
		return false, m.store.fail(ctx, err)
	}
	f, err := m.store.open(ctx, m.owner(), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	text, err := io.ReadAll(&reader{ctx: ctx, store: m.store, file: f, left: info.Size()})
	if err != nil || len(text) == 0 || text[len(text)-1] != '\n' {
		return false, err
	}
	return m.store.options.Process.Ended(string(text[:len(text)-1])), nil
}

// adopt gives an upload that is quiet a token of this Store. It gets a copy of its
// record before that, so that nothing is lost whenever this ends. Of two who do that,
// one moves the partial file. What is left under the old token, Multiparts removes.
func (m *multipart) adopt(ctx context.Context, h *hold) error {
	if err := m.quiet(ctx); err != nil {
		return err
	}
	token, err := m.store.token()
	if err != nil {
		return err
	}
	parts, err := m.recorded(ctx)
	if err != nil {
		return err
	}
	s, old, next := m.store, m.store.upload(m.ctx, m.key, m.Token()), m.store.upload(m.ctx, m.key, token)
	if err := next.inherit(ctx, parts); err != nil {
		return err
	}
	if err := s.fs.Rename(ctx, old.partial(), next.partial()); err != nil {
		// Without an answer it may have happened. What is of no use, Multiparts removes.
		return s.fail(ctx, err)
	}
	m.token.Store(&token)
	s.mu.Lock()
	delete(s.holds, old.partial())
	s.holds[m.partial()] = h
	s.mu.Unlock()
	// Before it had the partial file, others may have taken it for what was left.
	if err := m.inherit(ctx, parts); err != nil {
		return err
	}
	if err := mayStay(old.clear(ctx)); err != nil {
		return err
	}
	return s.fail(ctx, s.fs.SyncDir(ctx, tmpDir))
}

// inherit gives an upload its owner and its record, where it lacks them.
func (m *multipart) inherit(ctx context.Context, parts []object.Part) error {
	if err := m.sign(ctx); err != nil || len(parts) == 0 {
		return err
	}
	if info, err := m.hasRecord(ctx); info != nil || err != nil {
		return err
	}
	if err := m.newRecord(ctx); err != nil {
		return err
	}
	text := make([]byte, (parts[len(parts)-1].Index+1)*lineSize)
	for _, p := range parts {
		l, err := line(p)
		if err != nil {
			return err
		}
		copy(text[p.Index*lineSize:], l)
	}
	return m.store.edit(ctx, m.record(), func(f File) error {
		_, err := f.WriteAt(text, 0)
		return m.store.fail(ctx, err)
	})
}
