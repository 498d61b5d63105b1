package filetree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
	"github.com/offsite-backup/offsite/core/filetree/faulty"
	"github.com/offsite-backup/offsite/core/object"
)

const (
	archiveKey = "data/x.tar.zst"
	metaKey    = "meta/x.json"
	token      = "0123456789abcdef"
)

var (
	archive  = bytesOf(7, 3*partSize+5)
	document = bytesOf(8, 5000)
	errFault = errors.New("a fault")
)

// backup stores an archive in parts and then a document, going on with an upload
// that is there. It returns how many bytes of the archive it sent.
func backup(ctx context.Context, s object.Store, archive []byte) (sent int64, err error) {
	var have []object.Part
	var m object.Multipart
	for found, err := range s.Multiparts(ctx, archiveKey) {
		if errors.Is(err, core.ErrNoPlace) {
			break
		}
		if err != nil {
			return 0, err
		}
		if m = found; m.Key() != archiveKey {
			return 0, fmt.Errorf("an upload of %s", m.Key())
		}
		if have, err = m.Parts(ctx); err != nil {
			return 0, err
		}
	}
	parts := partsOf(archive)
	if _, err := s.Stat(ctx, archiveKey); err == nil {
		parts = nil // stored by an earlier try
	} else if m == nil {
		if m, err = s.Begin(ctx, archiveKey, token); err != nil {
			return 0, err
		}
	}
	for _, p := range parts {
		if slices.Contains(have, p) {
			continue
		}
		if err := m.Put(ctx, p, pieceOf(archive, p)); err != nil {
			return sent, err
		}
		sent += p.Size
	}
	if parts != nil {
		if _, err := m.Commit(ctx, parts); err != nil {
			return sent, err
		}
	}
	if _, err := put(ctx, s, metaKey, document); err != nil && !errors.Is(err, core.ErrExists) {
		return sent, err
	}
	return sent, nil
}

// wantWhole checks that what has a name is whole, and that the document rests on an
// archive.
func wantWhole(t *testing.T, fsys filetree.FS, when string) {
	t.Helper()
	s := newStore(fsys)
	got, err := read(t.Context(), s, archiveKey)
	if err == nil && !bytes.Equal(got, archive) {
		t.Errorf("%s: the archive is there and not whole", when)
	}
	_, missing := read(t.Context(), s, archiveKey)
	got, err = read(t.Context(), s, metaKey)
	if err == nil && (!bytes.Equal(got, document) || missing != nil) {
		t.Errorf("%s: the document is there, whole: %v, archive: %v", when, bytes.Equal(got, document), missing)
	}
}

// wantDone goes on without faults and checks that all is there and nothing is left.
func wantDone(t *testing.T, fsys filetree.FS, when string) (sent int64) {
	t.Helper()
	s := newStore(fsys)
	sent, err := backup(t.Context(), s, archive)
	if err != nil {
		t.Errorf("%s: then %v", when, err)
	}
	wantWhole(t, fsys, when)
	if all, err := keys(t.Context(), s, ""); err != nil || !slices.Equal(all, []string{archiveKey, metaKey}) {
		t.Errorf("%s: listed %q, %v", when, all, err)
	}
	for m, err := range s.Multiparts(t.Context(), "") {
		if err == nil {
			err = m.Abort(t.Context())
		}
		if err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	if left := leftovers(t, fsys); len(left) > 0 {
		t.Errorf("%s: left %q", when, left)
	}
	return sent
}

// Each operation of a backup fails once, before or after it took effect.
func TestEveryOperationFails(t *testing.T) {
	for _, way := range primitives {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprint(way.name, " late=", late), func(t *testing.T) {
				for k := 1; ; k++ {
					disk := faulty.NewDisk()
					fsys := without(disk, way.without)
					before := fsys.Fired()
					fsys.Inject(faulty.Fault{Nth: k, Late: late, Err: errFault})
					_, err := backup(t.Context(), newStore(fsys), archive)
					ops := fsys.Ops()
					if len(ops) < k {
						if k < 50 || err != nil {
							t.Errorf("%d operations, %v", len(ops), err)
						}
						return
					}
					when := fmt.Sprintf("operation %d, %+v", k, ops[k-1])
					if fsys.Fired() == before {
						t.Fatalf("%s: the fault did not fire", when)
					}
					if err != nil && (!errors.Is(err, errFault) || core.KindOf(err) == "") {
						t.Errorf("%s: %v", when, err)
					}
					wantWhole(t, disk, when)
					disk.Advance(2 * time.Minute)
					wantDone(t, without(disk, way.without), when)
				}
			})
		}
	}
}

// The process is killed at each operation of a backup, and the machine loses power,
// or not. Parts on record are not sent again.
func TestKilledAtEveryOperation(t *testing.T) {
	for _, way := range primitives {
		for _, power := range []string{"stays", "is lost", "is lost, some survives"} {
			t.Run(way.name+", power "+power, func(t *testing.T) {
				chance := rand.New(rand.NewPCG(1, 2))
				keep := func() bool { return power != "is lost" && chance.IntN(2) == 0 }
				for k := 1; ; k++ {
					disk := faulty.NewDisk()
					fsys := without(disk, way.without)
					fsys.Inject(faulty.Fault{Nth: k, Rest: true, Err: faulty.ErrStopped})
					_, err := backup(t.Context(), newStore(fsys), archive)
					ops := fsys.Ops()
					if len(ops) < k {
						return
					}
					when := fmt.Sprintf("killed at %d, %+v", k, ops[k-1])
					if err != nil && !errors.Is(err, faulty.ErrStopped) {
						t.Errorf("%s: %v", when, err)
					}
					if power != "stays" {
						disk.Crash(keep)
					}
					wantWhole(t, disk, when)
					if ctx := t.Context(); mkdirNeeded(ctx, disk) {
						continue
					}
					disk.Advance(2 * time.Minute)
					sent := wantDone(t, without(disk, way.without), when)
					recorded := int64(0)
					for _, op := range ops[:k-1] {
						if op.Call == faulty.Sync && strings.HasSuffix(op.Name, ".parts") {
							recorded += partSize
						}
					}
					// Sync of the names in tmp is what makes an upload outlast the power.
					if sent > max(0, int64(len(archive))-recorded) && !renamed(ops[:k-1]) {
						t.Errorf("%s: %d bytes sent again, %d were on record", when, sent, recorded)
					}
				}
			})
		}
	}
}

// renamed says whether a rename was among the operations: its two halves may be
// torn apart by a loss of power.
func renamed(ops []faulty.Op) bool {
	return slices.ContainsFunc(ops, func(op faulty.Op) bool {
		return op.Call == faulty.RenameNoReplace || op.Call == faulty.Rename
	})
}

// mkdirNeeded says whether there is no place yet, so nothing to go on with.
func mkdirNeeded(ctx context.Context, disk *faulty.Disk) bool {
	_, err := disk.Lstat(ctx, ".")
	return err != nil
}

// A file system whose sync does nothing must not pass the test above.
func TestCrashFindsMissingSync(t *testing.T) {
	for _, call := range []faulty.Call{faulty.Sync, faulty.SyncDir} {
		disk := faulty.NewDisk()
		fsys := faulty.New(disk)
		fsys.Inject(faulty.Fault{Call: call, Rest: true})
		if _, err := backup(t.Context(), newStore(fsys), archive); err != nil {
			t.Fatal(err)
		}
		disk.Crash(func() bool { return false })
		got, err := read(t.Context(), newStore(disk), archiveKey)
		if err == nil && bytes.Equal(got, archive) {
			t.Errorf("without %s all survived", call)
		}
	}
}

func TestWhatWasReportedStoredSurvives(t *testing.T) {
	for _, way := range primitives {
		disk := faulty.NewDisk()
		if _, err := backup(t.Context(), newStore(without(disk, way.without)), archive); err != nil {
			t.Fatal(err)
		}
		disk.Crash(func() bool { return false })
		if all, err := keys(t.Context(), newStore(disk), ""); err != nil || !slices.Equal(all, []string{archiveKey, metaKey}) {
			t.Errorf("%s: %q, %v", way.name, all, err)
		}
		wantWhole(t, disk, way.name)
	}
}

// An archive whose directory was never synced, because its upload was killed right
// then, is synced before a document that rests on it gets its name.
func TestWhatStatToldOfIsSyncedBeforeTheNextPublish(t *testing.T) {
	disk := faulty.NewDisk()
	fsys := faulty.New(disk)
	s := newStore(fsys)
	if _, err := put(t.Context(), s, "data/earlier", nil); err != nil {
		t.Fatal(err)
	}
	fsys.Inject(faulty.Fault{Call: faulty.SyncDir, Nth: 4, Rest: true, Err: faulty.ErrStopped})
	if _, err := backup(t.Context(), s, archive); !errors.Is(err, faulty.ErrStopped) {
		t.Fatal(err)
	}
	s = newStore(disk)
	if _, err := s.Stat(t.Context(), archiveKey); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t.Context(), s, metaKey, document); err != nil {
		t.Fatal(err)
	}
	disk.Crash(func() bool { return false })
	if got, err := read(t.Context(), newStore(disk), archiveKey); err != nil || !bytes.Equal(got, archive) {
		t.Errorf("%d bytes of the archive survived, %v", len(got), err)
	}
}

func TestNoSpaceAtEveryByte(t *testing.T) {
	for space := int64(0); ; space += 997 {
		disk := faulty.NewDisk()
		fsys := faulty.New(disk)
		fsys.Space(space)
		_, err := backup(t.Context(), newStore(fsys), archive)
		if fsys.Fired() == 0 {
			if err != nil || space < int64(len(archive)+len(document)) {
				t.Errorf("%d bytes were enough, %v", space, err)
			}
			return
		}
		when := fmt.Sprint("space for ", space)
		wantKind(t, when, err, core.ErrNoSpace)
		wantWhole(t, disk, when)
		if _, err := newStore(disk).Stat(t.Context(), metaKey); err == nil {
			t.Errorf("%s: the document is there", when)
		}
		fsys.Space(-1)
		wantDone(t, fsys, when)
	}
}

func TestNoSpaceAtSyncOrClose(t *testing.T) {
	for _, call := range []faulty.Call{faulty.Sync, faulty.Close} {
		for k := 1; ; k++ {
			disk := faulty.NewDisk()
			fsys := faulty.New(disk)
			fsys.Inject(faulty.Fault{Call: call, Nth: k, Err: core.Errorf(core.ErrNoSpace, "quota")})
			_, err := backup(t.Context(), newStore(fsys), archive)
			if fsys.Fired() == 0 {
				break
			}
			when := fmt.Sprintf("%s %d", call, k)
			if err != nil {
				wantKind(t, when, err, core.ErrNoSpace)
			} else if op := closed(fsys.Ops(), call, k); call == faulty.Sync || !reads(fsys.Ops(), op) {
				t.Errorf("%s of %s was not heard of", when, op)
			}
			wantWhole(t, disk, when)
			wantDone(t, disk, when)
		}
	}
}

// closed is the file of the k-th operation of a call.
func closed(ops []faulty.Op, call faulty.Call, k int) string {
	for _, op := range ops {
		if op.Call == call {
			if k--; k == 0 {
				return op.Name
			}
		}
	}
	return ""
}

// reads says whether a file was read, so that one of its closes means nothing.
func reads(ops []faulty.Op, name string) bool {
	return slices.ContainsFunc(ops, func(op faulty.Op) bool { return op.Name == name && op.Call == faulty.Read })
}

// A file is synced before it gets its name, its directory after that, and only then
// is the next thing stored.
func TestOrderOfSyncs(t *testing.T) {
	for _, way := range primitives {
		fsys := without(faulty.NewDisk(), way.without)
		if _, err := backup(t.Context(), newStore(fsys), archive); err != nil {
			t.Fatal(err)
		}
		dirty, unsynced := map[string]bool{}, map[string]bool{}
		published := 0
		for _, op := range fsys.Ops() {
			switch op.Call {
			case faulty.Write, faulty.Truncate:
				dirty[op.Name] = true
			case faulty.Sync, faulty.Remove:
				delete(dirty, op.Name)
			case faulty.SyncDir:
				delete(unsynced, op.Name)
			case faulty.RenameNoReplace, faulty.Link, faulty.Rename:
				if dirty[op.Name] {
					t.Errorf("%s: %s got its name before it was synced", way.name, op.To)
				}
				if len(unsynced) > 0 && op.To == metaKey && !unsynced["meta"] {
					t.Errorf("%s: %v not synced before the document", way.name, unsynced)
				}
				published++
				unsynced[op.To[:strings.IndexByte(op.To, '/')]] = true
			}
		}
		if len(dirty)+len(unsynced) > 0 || published < 2 {
			t.Errorf("%s: not synced at the end: %v %v; %d published", way.name, dirty, unsynced, published)
		}
	}
}

// An error of the source comes back as it is, and nothing is left.
func TestSourceFails(t *testing.T) {
	ctx, disk := t.Context(), faulty.NewDisk()
	s := newStore(disk)
	for n := range int64(len(document)) {
		if n%499 > 1 {
			continue
		}
		body := io.NewSectionReader(failing{document, n}, 0, int64(len(document)))
		if _, err := s.Put(ctx, metaKey, body, 1); !errors.Is(err, errFault) || core.KindOf(err) != "" {
			t.Errorf("at %d: %v", n, err)
		}
	}
	_, err := s.Put(ctx, metaKey, io.NewSectionReader(bytes.NewReader(document), 0, 6000), 1)
	wantKind(t, "a source that ends early", err, core.ErrChanged)
	_, err = s.Put(ctx, metaKey, section(document), 1)
	wantKind(t, "a source of another checksum", err, core.ErrChanged)
	m, err := s.Begin(ctx, archiveKey, token)
	if err != nil {
		t.Fatal(err)
	}
	p := partsOf(archive)[0]
	wantKind(t, "a part that is too long", m.Put(ctx, p, section(archive)), core.ErrChanged)
	wantKind(t, "a part that is too short", m.Put(ctx, p, section(archive[:5])), core.ErrChanged)
	if have, err := m.Parts(ctx); err != nil || len(have) > 0 {
		t.Errorf("on record: %v, %v", have, err)
	}
	if err := m.Abort(ctx); err != nil {
		t.Error(err)
	}
	if left := leftovers(t, disk); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

type failing struct {
	body []byte
	at   int64
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.at {
		return copy(p, f.body[off:max(off, f.at)]), errFault
	}
	return copy(p, f.body[off:]), nil
}

// A cancelled Put leaves nothing behind, not even where it cannot use its context
// any more to say so.
func TestCancelledPutLeavesNothing(t *testing.T) {
	for k := 1; k < 12; k++ {
		disk := faulty.NewDisk()
		ctx, cancel := context.WithCancelCause(t.Context())
		fsys := &cancelling{FS: disk, at: int64(k), cancel: func() { cancel(errFault) }}
		_, err := put(ctx, newStore(fsys), metaKey, document)
		_, there := newStore(disk).Stat(t.Context(), metaKey)
		if err == nil != (there == nil) || err != nil && !errors.Is(err, errFault) {
			t.Errorf("cancelled at %d: %v, stored: %v", k, err, there)
		}
		if _, err := disk.Lstat(t.Context(), "tmp"); err == nil {
			if left := leftovers(t, disk); len(left) > 0 {
				t.Errorf("cancelled at %d: left %q", k, left)
			}
		}
		cancel(nil)
	}
}

// A cancelling FS cancels somebody's context before its n-th operation that makes
// or moves something.
type cancelling struct {
	filetree.FS
	count  atomic.Int64
	at     int64
	cancel func()
}

func (c *cancelling) step() {
	if c.count.Add(1) == c.at {
		c.cancel()
	}
}

func (c *cancelling) OpenFile(ctx context.Context, name string, flag int) (filetree.File, error) {
	c.step()
	return c.FS.OpenFile(ctx, name, flag)
}

func (c *cancelling) Mkdir(ctx context.Context, name string) error {
	c.step()
	return c.FS.Mkdir(ctx, name)
}

func (c *cancelling) RenameNoReplace(ctx context.Context, from, to string) error {
	c.step()
	return c.FS.RenameNoReplace(ctx, from, to)
}

func (c *cancelling) SyncDir(ctx context.Context, name string) error {
	c.step()
	return c.FS.SyncDir(ctx, name)
}
