package filetree

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A hold is what keeps all but one from writing to an upload. Bytes of two sources
// must not meet in one partial file, and nobody may have it open for writing when it
// becomes an object.
//
// An upload is held by whoever began it, and by whoever found it from the first Put
// or Commit on. The hold ends with a call that fails, with Commit, Abort and Close,
// and with the context of the Begin or Multiparts that the upload is from, but not
// while a call writes. Then the next one may take it, at once.
//
// Where the place has locks, the system ends the hold of a process that was killed.
// Where it has none, another process takes an upload only when its owner is known to
// have ended, or nothing was written to it for leaseStale, and gives it a name of its
// own, so that one gets it and the other finds nothing. Whoever writes looks that the
// name is still there, at least every leaseHeld.
type hold struct {
	mu     sync.Mutex
	by     *multipart   // nil while nobody of this Store has it
	lock   File         // nil where the place has no locks
	calls  int          // of by, under way
	alone  bool         // whether no other may be
	over   bool         // whether it ends with them
	known  bool         // this Store had it before
	signed bool         // this process is named as its owner
	noted  map[int]bool // indices on record; nil where that is not known, or there is no record
	unhook func() bool
}

const (
	leaseHeld  = 10 * time.Second
	leaseStale = 2 * time.Minute
)

// errHeld answers whoever wants to write to what another writes to. The upload is
// gone for him.
var errHeld = core.Errorf(core.ErrNotFound, "another process goes on with this upload")

// holdOf returns the hold of an upload, the same for all in this Store.
func (s *Store) holdOf(name string) *hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.holds[name]
	if h == nil {
		h = &hold{}
		s.holds[name] = h
	}
	return h
}

// drop forgets the hold of an upload that is over.
func (s *Store) drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.holds, name)
}

// endHolds ends them all.
func (s *Store) endHolds() {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.holds))
	s.mu.Unlock()
	for _, h := range all {
		h.mu.Lock()
		h.end()
		h.mu.Unlock()
	}
}

// hold is that of this upload.
func (m *multipart) hold() *hold {
	m.find.Do(func() { m.held = m.store.holdOf(m.partial()) })
	return m.held
}

// enter begins a call that writes, perhaps one that has to be alone. It answers
// errHeld where another has the upload, and core.ErrNotFound where it is over. The
// caller calls leave.
func (m *multipart) enter(ctx context.Context, alone bool) error {
	h := m.hold()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by != m {
		if err := m.take(ctx, h); err != nil {
			return err
		}
	}
	if h.calls > 0 && (alone || h.alone) {
		return core.Errorf(core.ErrUnavailable, "a part is being written while the upload is committed")
	}
	h.calls++
	h.alone = alone
	return nil
}

// leave ends a call, and the hold with it where the upload is over or has failed.
func (m *multipart) leave(over bool) {
	h := m.hold()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls--
	h.over = h.over || over
	if h.calls == 0 && (h.over || m.ctx.Err() != nil) {
		h.end()
	}
}

// take makes a hold that of m.
func (m *multipart) take(ctx context.Context, h *hold) error {
	if h.taken() {
		m.lost.Store(true)
		return errHeld
	}
	h.end()
	lock, err := m.tryLock(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		if err = nil; !h.known {
			err = m.adopt(ctx, h)
		} else if !h.signed {
			err = m.sign(ctx)
		}
		h.signed = err == nil
	}
	if err == nil {
		// Whoever had it before may have given it its name meanwhile.
		_, err = m.there(ctx)
	}
	if err != nil {
		m.lost.Store(errors.Is(err, errHeld))
		if lock != nil {
			_ = lock.Close() // nothing was written by it
		}
		return err
	}
	h.by, h.lock, h.known, h.over = m, lock, true, false
	h.unhook = context.AfterFunc(m.ctx, func() { m.expire(h) })
	return nil
}

// expire ends the hold of m, whose context has ended, unless a call is under way.
func (m *multipart) expire(h *hold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by == m && h.calls == 0 {
		h.end()
	}
}

// taken says whether somebody of this Store has it.
func (h *hold) taken() bool { return h.by != nil && (h.calls > 0 || h.by.ctx.Err() == nil) }

// end lets others have it. h is locked.
func (h *hold) end() {
	if h.by == nil {
		return
	}
	h.unhook()
	if h.lock != nil {
		_ = h.lock.Close() // nothing was written by it
	}
	h.by, h.lock, h.noted = nil, nil, nil
}

// tryLock opens and locks the partial file. It answers errHeld where another has the
// lock, errors.ErrUnsupported where the place has none.
func (m *multipart) tryLock(ctx context.Context) (File, error) {
	if m.store.options.NoLocks {
		return nil, errors.ErrUnsupported
	}
	if _, err := m.there(ctx); err != nil {
		return nil, err
	}
	f, err := m.store.open(ctx, m.partial(), os.O_WRONLY)
	if err != nil {
		return nil, err
	}
	locker, ok := f.(Locker)
	if !ok {
		return nil, errors.Join(errors.ErrUnsupported, f.Close())
	}
	locked, err := locker.TryLock()
	switch {
	case errors.Is(err, errors.ErrUnsupported):
	case err != nil:
		err = m.store.fail(ctx, err)
	case !locked:
		err = errHeld
	default:
		return f, nil
	}
	return nil, errors.Join(err, f.Close())
}

// unhold ends the hold of m, now or with the calls under way.
func (m *multipart) unhold() {
	h := m.hold()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by != m {
		return
	}
	if h.over = true; h.calls == 0 {
		h.end()
	}
}

// free answers errHeld where another has the upload, and errors.ErrUnsupported where
// the place cannot tell.
func (m *multipart) free(ctx context.Context) error {
	h := m.hold()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by == m {
		return nil
	}
	if h.taken() {
		return errHeld
	}
	h.end()
	lock, err := m.tryLock(ctx)
	if errors.Is(err, errors.ErrUnsupported) && h.known {
		return nil
	}
	if err != nil {
		return err
	}
	return m.store.fail(ctx, lock.Close())
}

// open says whether m may go on with the upload.
func (m *multipart) open(ctx context.Context) (bool, error) {
	err := m.free(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		err = m.quiet(ctx)
	}
	if errors.Is(err, errHeld) {
		return false, nil
	}
	return err == nil, err
}

// quiet answers errHeld while somebody may be writing, as far as processes and dates
// tell.
func (m *multipart) quiet(ctx context.Context) error {
	info, err := m.there(ctx)
	if err != nil {
		return err
	}
	if ended, err := m.orphaned(ctx); ended || err != nil {
		return err
	}
	now, err := m.store.now(ctx, m.key)
	if err == nil && now.Sub(info.ModTime()) < leaseStale {
		return errHeld
	}
	return err
}

// A lease says, where the place has no locks, that the upload is still there.
type lease struct {
	m    *multipart // nil needs none
	seen time.Time
}

// lease is one for a call that has entered.
func (m *multipart) lease() *lease {
	if h := m.hold(); h.lock != nil {
		return &lease{}
	}
	return &lease{m: m}
}

// check looks whether the upload is there, unless it was a moment ago.
func (l *lease) check(ctx context.Context) error {
	if l.m == nil || time.Since(l.seen) < leaseHeld {
		return nil
	}
	now := time.Now()
	_, err := l.m.there(ctx)
	l.seen = now
	return err
}
