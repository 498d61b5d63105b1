package filetree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
	"github.com/offsite-backup/offsite/core/filetree/faulty"
	"github.com/offsite-backup/offsite/core/object"
)

const spool = "/spool/archive"

// shares are the ways in which a file can get its bytes from one elsewhere, and then
// its name.
var shares = []struct {
	name    string
	without []faulty.Call
}{
	{"link", nil},
	{"clone", []faulty.Call{faulty.LinkLocal}},
	{"link, named by a link", []faulty.Call{faulty.RenameNoReplace}},
	{"clone, named under a claim", []faulty.Call{faulty.LinkLocal, faulty.RenameNoReplace, faulty.Link}},
}

// share stores body out of a spool that is written while it is shared, and then a
// document.
func share(ctx context.Context, disk *faulty.Disk, s *filetree.Store, body []byte) error {
	file, half := disk.Local(spool), len(body)/2
	if _, err := file.WriteAt(body[:half], 0); err != nil {
		return err
	}
	m, err := s.Share(ctx, archiveKey, token, spool)
	if err != nil {
		return err
	}
	if _, err := file.WriteAt(body[half:], int64(half)); err != nil {
		return err
	}
	parts := partsOf(body)
	for _, p := range parts {
		if err := m.Put(ctx, p, nil); err != nil {
			return errors.Join(err, m.Abort(ctx))
		}
	}
	if _, err := m.Commit(ctx, parts); err != nil {
		return errors.Join(err, m.Abort(ctx))
	}
	_, err = put(ctx, s, metaKey, document)
	return err
}

// swept removes what a sweep does.
func swept(t *testing.T, fsys filetree.FS, when string) {
	t.Helper()
	for m, err := range newStore(fsys).Multiparts(t.Context(), "") {
		if err == nil {
			err = m.Abort(t.Context())
		}
		if err != nil && !errors.Is(err, core.ErrNoPlace) {
			t.Errorf("%s: %v", when, err)
		}
	}
}

func TestShareCopiesNothing(t *testing.T) {
	for _, way := range shares {
		disk := faulty.NewDisk()
		fsys := without(disk, way.without)
		if err := share(t.Context(), disk, newStore(fsys), archive); err != nil {
			t.Fatalf("%s: %v", way.name, err)
		}
		for _, op := range fsys.Ops() {
			if op.Call == faulty.Write && !strings.HasPrefix(op.Name, "tmp/meta,") {
				t.Errorf("%s: %+v", way.name, op)
			}
		}
		disk.Crash(func() bool { return false })
		wantWhole(t, disk, way.name)
		if all, err := keys(t.Context(), newStore(disk), ""); err != nil || !slices.Equal(all, []string{archiveKey, metaKey}) {
			t.Errorf("%s: %q, %v", way.name, all, err)
		}
		if left := leftovers(t, fsys); len(left) > 0 {
			t.Errorf("%s: left %q", way.name, left)
		}
	}
}

// What a loss of power takes from a spool that was never synced is not missing from
// the object.
func TestCrashFindsShareWithoutSync(t *testing.T) {
	for _, way := range shares {
		disk := faulty.NewDisk()
		fsys := without(disk, way.without)
		fsys.Inject(faulty.Fault{Call: faulty.Sync, Rest: true})
		if err := share(t.Context(), disk, newStore(fsys), archive); err != nil {
			t.Fatal(err)
		}
		disk.Crash(func() bool { return false })
		if got, err := read(t.Context(), newStore(disk), archiveKey); err == nil && bytes.Equal(got, archive) {
			t.Errorf("%s: without a sync all survived", way.name)
		}
	}
}

// Each operation of a backup that is shared fails once, before or after it took
// effect. It succeeds, or can be copied after a sweep.
func TestEveryOperationOfAShareFails(t *testing.T) {
	for _, way := range shares {
		for _, late := range []bool{false, true} {
			for k := 1; ; k++ {
				disk := faulty.NewDisk()
				fsys := without(disk, way.without)
				fsys.Inject(faulty.Fault{Nth: k, Late: late, Err: errFault})
				err := share(t.Context(), disk, newStore(fsys), archive)
				ops := fsys.Ops()
				if len(ops) < k {
					break
				}
				when := fmt.Sprintf("%s: operation %d, %+v, late %v", way.name, k, ops[k-1], late)
				if err != nil && core.KindOf(err) == "" {
					t.Errorf("%s: %v", when, err)
				}
				wantWhole(t, disk, when)
				wantSpool(t, disk, when)
				disk.Advance(2 * time.Minute)
				swept(t, disk, when)
				wantDone(t, without(disk, way.without), when)
			}
		}
	}
}

// wantSpool checks that nobody wrote to the spool but its owner.
func wantSpool(t *testing.T, disk *faulty.Disk, when string) {
	t.Helper()
	f, err := disk.OpenLocal(t.Context(), spool)
	if err != nil {
		return // not made yet
	}
	got := make([]byte, len(archive)+1)
	n, _ := f.ReadAt(got, 0)
	if !bytes.HasPrefix(archive, got[:n]) {
		t.Errorf("%s: the spool has other bytes", when)
	}
}

// The process is killed at each operation of a backup that is shared, and the machine
// loses power, or not.
func TestKilledAtEveryOperationOfAShare(t *testing.T) {
	for _, way := range shares {
		for _, power := range []string{"stays", "is lost", "is lost, some survives"} {
			chance := rand.New(rand.NewPCG(3, 4))
			keep := func() bool { return power != "is lost" && chance.IntN(2) == 0 }
			for k := 1; ; k++ {
				disk := faulty.NewDisk()
				fsys := without(disk, way.without)
				fsys.Inject(faulty.Fault{Nth: k, Rest: true, Err: faulty.ErrStopped})
				_ = share(t.Context(), disk, newStore(fsys), archive)
				ops := fsys.Ops()
				if len(ops) < k {
					break
				}
				when := fmt.Sprintf("%s: power %s, killed at %d, %+v", way.name, power, k, ops[k-1])
				if power != "stays" {
					disk.Crash(keep)
				} else {
					wantSpool(t, disk, when)
				}
				wantWhole(t, disk, when)
				if mkdirNeeded(t.Context(), disk) {
					continue
				}
				disk.Advance(2 * time.Minute)
				swept(t, disk, when)
				wantDone(t, without(disk, way.without), when)
			}
		}
	}
}

// What cannot be shared says so, at once where that is known, and leaves nothing.
func TestUnshared(t *testing.T) {
	ctx := t.Context()
	half := archive[:len(archive)/2]
	all := partsOf(archive)
	for name, c := range map[string]struct {
		fault faulty.Fault
		spool []byte
		when  string
	}{
		"another file system":        {faulty.Fault{Call: faulty.OpenLocal, Rest: true, Err: errFault}, archive, "share"},
		"neither link nor clone":     {faulty.Fault{Call: faulty.Clone, Rest: true, Err: errFault}, archive, "share"},
		"a clone of nothing alone":   {faulty.Fault{Call: faulty.Clone, Nth: 2, Err: errFault}, archive, "commit"},
		"a file with less":           {faulty.Fault{}, half, "put"},
		"a file with other bytes":    {faulty.Fault{}, bytesOf(9, len(archive)), "put"},
		"a file with more":           {faulty.Fault{}, append(slices.Clone(archive), 1), "commit"},
		"a file that cannot be read": {faulty.Fault{Call: faulty.Read, Rest: true, Err: errFault}, archive, "put"},
	} {
		disk := faulty.NewDisk()
		fsys := without(disk, []faulty.Call{faulty.LinkLocal})
		if c.fault.Call != "" {
			fsys.Inject(c.fault)
		}
		s := newStore(fsys)
		if _, err := disk.Local(spool).WriteAt(c.spool, 0); err != nil {
			t.Fatal(err)
		}
		when := "share"
		m, err := s.Share(ctx, archiveKey, token, spool)
		if err == nil {
			when = "put"
			for _, p := range all {
				err = errors.Join(err, m.Put(ctx, p, nil))
			}
			if err == nil {
				when = "commit"
				_, err = m.Commit(ctx, all)
			}
			if e := m.Abort(ctx); e != nil {
				t.Errorf("%s: %v", name, e)
			}
		}
		if when != c.when {
			t.Errorf("%s: found out by %s", name, when)
		}
		wantKind(t, name, err, core.ErrUnsupported)
		if left := leftovers(t, fsys); len(left) > 0 {
			t.Errorf("%s: left %q", name, left)
		}
	}
	_, err := newStore(onlyFS{faulty.NewDisk()}).Share(ctx, archiveKey, token, spool)
	wantKind(t, "no file system of this machine", err, core.ErrUnsupported)
}

// An onlyFS is no filetree.LocalFS.
type onlyFS struct{ filetree.FS }

// Nobody goes on with what another shares, and whoever removes it removes a name.
func TestFoundShare(t *testing.T) {
	ctx, disk := t.Context(), faulty.NewDisk()
	file := disk.Local(spool)
	if _, err := file.WriteAt(archive, 0); err != nil {
		t.Fatal(err)
	}
	m, err := newStore(disk).Share(ctx, archiveKey, token, spool)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for found, err := range newStore(disk).Multiparts(ctx, archiveKey) {
		if n++; err != nil {
			t.Fatal(err)
		}
		if have, err := found.Parts(ctx); found.Key() != archiveKey || found.Token() != token || len(have) > 0 || err != nil {
			t.Errorf("found %s, %s, parts %v, %v", found.Key(), found.Token(), have, err)
		}
		p := partsOf(archive)[0]
		other := bytesOf(9, int(p.Size))
		wantKind(t, "put", found.Put(ctx, p, section(other)), core.ErrNotFound)
		_, err := found.Commit(ctx, partsOf(archive))
		wantKind(t, "commit", err, core.ErrNotFound)
		if err := found.Abort(ctx); err != nil {
			t.Error(err)
		}
		_, err = found.Parts(ctx)
		wantKind(t, "parts of what was removed", err, core.ErrNotFound)
	}
	wantSpool(t, disk, "after all that")
	_, err = m.Commit(ctx, partsOf(archive))
	if wantKind(t, "commit of what another removed", err, core.ErrNotFound); n != 1 {
		t.Errorf("found %d", n)
	}
	if err := m.Abort(ctx); err != nil {
		t.Error(err)
	}
}

// An upload that is copied does not go on with one that is shared, and whichever of
// the two comes second finds the name taken.
func TestShareMeetsCopy(t *testing.T) {
	ctx := t.Context()
	for _, first := range []string{"share", "copy"} {
		disk := faulty.NewDisk()
		if _, err := disk.Local(spool).WriteAt(archive, 0); err != nil {
			t.Fatal(err)
		}
		a, b := newStore(disk), newStore(disk)
		linked, err := a.Share(ctx, archiveKey, token, spool)
		if err != nil {
			t.Fatal(err)
		}
		copied, err := b.Begin(ctx, archiveKey, "fedcba9876543210")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range partsOf(archive) {
			if err := errors.Join(copied.Put(ctx, p, pieceOf(archive, p)), linked.Put(ctx, p, nil)); err != nil {
				t.Fatal(err)
			}
		}
		order := []object.Multipart{linked, copied}
		if first == "copy" {
			slices.Reverse(order)
		}
		if _, err := order[0].Commit(ctx, partsOf(archive)); err != nil {
			t.Error(err)
		}
		_, err = order[1].Commit(ctx, partsOf(archive))
		wantKind(t, first+" first", err, core.ErrExists)
		if err := order[1].Abort(ctx); err != nil {
			t.Error(err)
		}
		wantWhole(t, disk, first)
		if left := leftovers(t, disk); len(left) > 0 {
			t.Errorf("%s first: left %q", first, left)
		}
	}
}

// An abort after the context has ended removes the name all the same.
func TestAbortOfAShareOutlastsItsContext(t *testing.T) {
	disk := faulty.NewDisk()
	_ = disk.Local(spool)
	ctx, cancel := context.WithCancel(t.Context())
	m, err := newStore(disk).Share(ctx, archiveKey, token, spool)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := m.Commit(ctx, partsOf(archive)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := m.Abort(ctx); err != nil {
		t.Error(err)
	}
	if left := leftovers(t, disk); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// watched is a disk that knows how many files of this machine are open.
type watched struct {
	*faulty.FS
	open *int
}

func (w watched) OpenLocal(ctx context.Context, path string) (filetree.LocalFile, error) {
	f, err := w.FS.OpenLocal(ctx, path)
	if err == nil {
		*w.open++
	}
	return watchedFile{f, sync.OnceFunc(func() { *w.open-- })}, err
}

type watchedFile struct {
	filetree.LocalFile
	closed func()
}

func (f watchedFile) Close() error {
	f.closed()
	return f.LocalFile.Close()
}

// A file that is shared is closed with its upload, also where its object turns out to
// be there already, which is no failure of whoever asks for the same.
func TestShareClosesTheFile(t *testing.T) {
	for _, way := range shares {
		disk := faulty.NewDisk()
		open := 0
		s := newStore(watched{without(disk, way.without), &open})
		if err := share(t.Context(), disk, s, archive); err != nil || open != 0 {
			t.Fatalf("%s: %v, %d files are open", way.name, err, open)
		}
		m, err := s.Share(t.Context(), archiveKey, token, spool)
		if err != nil || open != 1 {
			t.Fatalf("%s: %v, %d files are open", way.name, err, open)
		}
		if _, err := m.Commit(t.Context(), partsOf(archive)); err == nil || open != 0 {
			t.Errorf("%s: committed over another: %v, %d files are open", way.name, err, open)
		}
		if err := m.Abort(t.Context()); err != nil {
			t.Errorf("%s: %v", way.name, err)
		}
	}
}
