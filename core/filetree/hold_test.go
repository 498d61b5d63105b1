package filetree_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
	"github.com/offsite-backup/offsite/core/filetree/faulty"
	"github.com/offsite-backup/offsite/core/object"
)

// locking are places with locks and without.
var locking = map[string][]faulty.Call{"locks": nil, "no locks": {faulty.TryLock}}

// A gate is a source that waits in its first read.
type gate struct {
	io.ReaderAt
	in, on chan struct{}
	open   bool
}

func newGate(b []byte) *gate {
	return &gate{ReaderAt: bytes.NewReader(b), in: make(chan struct{}), on: make(chan struct{})}
}

func (g *gate) ReadAt(p []byte, off int64) (int, error) {
	if !g.open {
		g.open = true
		close(g.in)
		<-g.on
	}
	return g.ReaderAt.ReadAt(p, off)
}

// found is the one upload that a Store finds.
func found(t *testing.T, ctx context.Context, s object.Store) object.Multipart {
	t.Helper()
	all, err := uploads(ctx, s, archiveKey)
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	return all[0]
}

func wantArchive(t *testing.T, fsys filetree.FS, o object.Object, want []byte) {
	t.Helper()
	s := newStore(fsys)
	now, err := s.Stat(t.Context(), archiveKey)
	if err != nil || now != o {
		t.Errorf("stored %+v, now it is %+v, %v", o, now, err)
	}
	if got, err := read(t.Context(), s, archiveKey); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// Two processes find one upload, of sources that begin alike. Whichever writes
// first has it, and the other cannot write into what the first one makes of it.
func TestOneHasAnUpload(t *testing.T) {
	long := bytesOf(7, 4*partSize)
	short := long[:3*partSize]
	for name, less := range locking {
		t.Run(name+", begun here", func(t *testing.T) {
			ctx, disk := t.Context(), faulty.NewDisk()
			m1, parts := begin(t, newStore(without(disk, less)), short)
			m2 := found(t, ctx, newStore(without(disk, less)))
			last := partsOf(long)[3]
			wantKind(t, "the second's part", m2.Put(ctx, last, pieceOf(long, last)), core.ErrNotFound)
			_, err := m2.Commit(ctx, parts)
			wantKind(t, "the second's commit", err, core.ErrNotFound)
			if err := m2.Abort(ctx); err != nil { // it has nothing to end
				t.Error(err)
			}
			o, err := m1.Commit(ctx, parts)
			if err != nil {
				t.Fatal(err)
			}
			wantKind(t, "a late part", m2.Put(ctx, last, pieceOf(long, last)), core.ErrNotFound)
			wantArchive(t, disk, o, short)
		})
		t.Run(name+", taken over", func(t *testing.T) {
			ctx, disk := t.Context(), faulty.NewDisk()
			s1 := newStore(without(disk, less))
			m1, parts := begin(t, s1, short)
			if err := s1.Close(); err != nil {
				t.Fatal(err)
			}
			disk.Advance(2 * time.Minute)
			m2, m3 := found(t, ctx, newStore(without(disk, less))), found(t, ctx, newStore(without(disk, less)))
			for _, m := range []object.Multipart{m2, m3} {
				if have, err := m.Parts(ctx); err != nil || !slices.Equal(have, parts) {
					t.Errorf("%v, %v", have, err)
				}
			}
			last := partsOf(long)[3]
			g, put := newGate(long[3*partSize:]), make(chan error)
			go func() { put <- m2.Put(ctx, last, io.NewSectionReader(g, 0, partSize)) }()
			<-g.in
			for _, m := range []object.Multipart{m1, m3} {
				wantKind(t, "another's part", m.Put(ctx, parts[0], pieceOf(short, parts[0])), core.ErrNotFound)
				_, err := m.Commit(ctx, parts)
				wantKind(t, "another's commit", err, core.ErrNotFound)
			}
			_, err := m2.Commit(ctx, parts)
			wantKind(t, "a commit while a part is written", err, core.ErrUnavailable)
			close(g.on)
			if err := <-put; err != nil {
				t.Fatal(err)
			}
			o, err := m2.Commit(ctx, partsOf(long))
			if err != nil {
				t.Fatal(err)
			}
			wantArchive(t, disk, o, long)
			if left := leftovers(t, disk); len(left) > 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}

// A hold ends with the context of the upload, for the same Store and for others, and
// where there are locks at once.
func TestHoldEndsWithItsContext(t *testing.T) {
	for name, less := range locking {
		synctest.Test(t, func(t *testing.T) {
			disk := faulty.NewDisk()
			s, other := newStore(without(disk, less)), newStore(without(disk, less))
			ctx, cancel := context.WithCancel(t.Context())
			m, err := s.Begin(ctx, archiveKey, token)
			if err != nil {
				t.Fatal(err)
			}
			parts := partsOf(archive)
			for _, p := range parts {
				if err := m.Put(ctx, p, pieceOf(archive, p)); err != nil {
					t.Fatal(err)
				}
			}
			for _, s := range []object.Store{s, other} {
				if have, err := found(t, t.Context(), s).Parts(t.Context()); err != nil || len(have) > 0 {
					t.Errorf("%s: while it lives: %v, %v", name, have, err)
				}
			}
			cancel()
			if have, err := found(t, t.Context(), s).Parts(t.Context()); err != nil || len(have) != len(parts) {
				t.Errorf("%s: for the same Store: %v, %v", name, have, err)
			}
			synctest.Wait()
			have, err := found(t, t.Context(), other).Parts(t.Context())
			if err != nil || len(have) > 0 != (less == nil) {
				t.Errorf("%s: for another: %v, %v", name, have, err)
			}
			disk.Advance(2 * time.Minute)
			if have, err := found(t, t.Context(), other).Parts(t.Context()); err != nil || len(have) != len(parts) {
				t.Errorf("%s: later: %v, %v", name, have, err)
			}
		})
	}
}

// What the lock shows to be another's is not removed by whoever did not begin it.
func TestAbortLeavesWhatAnotherWrites(t *testing.T) {
	ctx, disk := t.Context(), faulty.NewDisk()
	m, parts := begin(t, newStore(disk), archive)
	wantKind(t, "abort", found(t, ctx, newStore(disk)).Abort(ctx), core.ErrUnavailable)
	if _, err := m.Commit(ctx, parts); err != nil {
		t.Error(err)
	}
}

// Without locks, a writer that stood still for long looks whether the upload is still
// his before he goes on.
func TestWriterThatStoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, disk := t.Context(), faulty.NewDisk()
		less := locking["no locks"]
		m1, parts := begin(t, newStore(without(disk, less)), archive[:2*partSize])
		other := bytesOf(9, 2<<20)
		p := object.Part{Index: 2, Offset: 2 * partSize, Size: int64(len(other)), CRC64: 1}
		g, put := newGate(other), make(chan error)
		go func() { put <- m1.Put(ctx, p, io.NewSectionReader(g, 0, p.Size)) }()
		<-g.in
		time.Sleep(time.Minute)
		disk.Advance(2 * time.Minute)
		o, err := found(t, ctx, newStore(without(disk, less))).Commit(ctx, parts)
		if err != nil {
			t.Fatal(err)
		}
		close(g.on)
		wantKind(t, "the part", <-put, core.ErrNotFound)
		wantArchive(t, disk, o, archive[:2*partSize])
	})
}

// Started is the date of the last write to it, by the clock of the place.
func TestStartedMovesOnWithEveryPart(t *testing.T) {
	ctx, disk := t.Context(), faulty.NewDisk()
	s := newStore(disk)
	m, err := s.Begin(ctx, archiveKey, token)
	if err != nil {
		t.Fatal(err)
	}
	last := m.Started()
	for _, p := range partsOf(archive) {
		disk.Advance(time.Hour)
		if err := m.Put(ctx, p, pieceOf(archive, p)); err != nil {
			t.Fatal(err)
		}
		if now := found(t, ctx, s).Started(); now.Sub(last) < time.Hour {
			t.Errorf("part %d: %v, then %v", p.Index, last, now)
		} else {
			last = now
		}
	}
	disk.Advance(time.Hour)
	if now := found(t, ctx, s).Started(); !now.Equal(last) {
		t.Errorf("nothing was written: %v, then %v", last, now)
	}
}

// A key that was renamed into place by somebody who was killed before it was synced
// is on disk when it is told of as settled or taken.
func TestWhatIsThereIsSettled(t *testing.T) {
	for what, ask := range map[string]func(context.Context, *filetree.Store) error{
		"settled": func(ctx context.Context, s *filetree.Store) error { return s.Settled(ctx, metaKey) },
		"put": func(ctx context.Context, s *filetree.Store) error {
			_, err := put(ctx, s, metaKey, document)
			wantKind(t, "put", err, core.ErrExists)
			return nil
		},
	} {
		ctx, disk := t.Context(), faulty.NewDisk()
		fsys := faulty.New(disk)
		fsys.Inject(faulty.Fault{Call: faulty.SyncDir, Nth: 1, Rest: true, Err: faulty.ErrStopped})
		if _, err := put(ctx, newStore(fsys), metaKey, document); err == nil {
			t.Fatal("the sync did not fail")
		}
		// While it cannot be synced, nobody is told that it is there.
		_, err := put(ctx, newStore(fsys), metaKey, document)
		wantKind(t, what, err, core.ErrUnavailable)
		wantKind(t, what, newStore(fsys).Settled(ctx, metaKey), core.ErrUnavailable)
		if err := ask(ctx, newStore(disk)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		disk.Crash(func() bool { return false })
		if got, err := read(ctx, newStore(disk), metaKey); err != nil || !bytes.Equal(got, document) {
			t.Errorf("%s: %d bytes, %v", what, len(got), err)
		}
	}
	s := newStore(faulty.NewDisk())
	wantKind(t, "no place", s.Settled(t.Context(), metaKey), core.ErrNoPlace)
	wantKind(t, "no key", s.Settled(t.Context(), "../x"), core.ErrInvalid)
}
