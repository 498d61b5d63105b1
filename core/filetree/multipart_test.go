package filetree_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
	"github.com/offsite-backup/offsite/core/filetree/faulty"
	"github.com/offsite-backup/offsite/core/object"
)

func begin(t *testing.T, s object.Store, body []byte) (object.Multipart, []object.Part) {
	t.Helper()
	m, err := s.Begin(t.Context(), archiveKey, token)
	if err != nil {
		t.Fatal(err)
	}
	parts := partsOf(body)
	for _, p := range parts {
		if err := m.Put(t.Context(), p, pieceOf(body, p)); err != nil {
			t.Fatal(err)
		}
	}
	return m, parts
}

// edit writes into a file behind the store's back.
func edit(t *testing.T, fsys filetree.FS, name string, flag int, b []byte, off int64) {
	t.Helper()
	f, err := fsys.OpenFile(t.Context(), name, os.O_WRONLY|flag)
	if err == nil {
		_, err = f.WriteAt(b, off)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func uploads(ctx context.Context, s object.Store, prefix string) (all []object.Multipart, err error) {
	for m, err := range s.Multiparts(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

func TestCommitRefuses(t *testing.T) {
	ctx, s := t.Context(), newStore(faulty.NewDisk())
	m, parts := begin(t, s, archive)
	change := func(i int, f func(*object.Part)) []object.Part {
		other := slices.Clone(parts)
		f(&other[i])
		return other
	}
	for what, test := range map[string]struct {
		parts []object.Part
		kind  core.ErrorKind
	}{
		"a gap":              {slices.Delete(slices.Clone(parts), 1, 2), core.ErrInvalid},
		"the wrong order":    {[]object.Part{parts[1], parts[0]}, core.ErrInvalid},
		"other bytes":        {change(2, func(p *object.Part) { p.CRC64++ }), core.ErrChanged},
		"another size":       {change(3, func(p *object.Part) { p.Size++ }), core.ErrChanged},
		"a part never put":   {append(slices.Clone(parts), object.Part{Index: 4, Offset: int64(len(archive)), Size: 1}), core.ErrChanged},
		"a part of no bytes": {append(slices.Clone(parts), object.Part{Index: 4, Offset: int64(len(archive))}), core.ErrChanged},
	} {
		_, err := m.Commit(ctx, test.parts)
		wantKind(t, what, err, test.kind)
	}
	if _, err := s.Stat(ctx, archiveKey); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("it is there: %v", err)
	}
	// An upload that went further earlier is cut off.
	o, err := m.Commit(ctx, parts[:2])
	if err != nil || o.Size != 2*partSize {
		t.Errorf("%+v, %v", o, err)
	}
	if got, err := read(ctx, s, archiveKey); err != nil || !bytes.Equal(got, archive[:2*partSize]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	_, err = m.Commit(ctx, parts[:2])
	wantKind(t, "a second commit", err, core.ErrNotFound)
	_, err = m.Parts(ctx)
	wantKind(t, "parts after the commit", err, core.ErrNotFound)
	wantKind(t, "a part after the commit", m.Put(ctx, parts[0], pieceOf(archive, parts[0])), core.ErrNotFound)
	if err := m.Abort(ctx); err != nil {
		t.Error(err)
	}
	if _, err := s.Stat(ctx, archiveKey); err != nil {
		t.Errorf("the abort after the commit took it away: %v", err)
	}
}

func TestPartialFileThatWasCutShortIsNotCommitted(t *testing.T) {
	ctx, disk := t.Context(), faulty.NewDisk()
	s := newStore(disk)
	m, parts := begin(t, s, archive)
	f, err := disk.OpenFile(ctx, "tmp/data,x.tar.zst."+token+".partial", os.O_WRONLY)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(partSize + 1); err != nil {
		t.Fatal(err)
	}
	_, err = m.Commit(ctx, parts)
	wantKind(t, "commit", err, core.ErrDamaged)
	if have, err := m.Parts(ctx); err != nil || !slices.Equal(have, parts[:1]) {
		t.Errorf("vouched for: %v, %v", have, err)
	}
}

func TestCommitThatComesSecond(t *testing.T) {
	for _, way := range primitives {
		ctx, fsys := t.Context(), without(faulty.NewDisk(), way.without)
		s := newStore(fsys)
		m, parts := begin(t, s, archive)
		if _, err := put(ctx, s, archiveKey, document); err != nil {
			t.Fatal(err)
		}
		_, err := m.Commit(ctx, parts)
		wantKind(t, way.name, err, core.ErrExists)
		if have, err := m.Parts(ctx); err != nil || len(have) != len(parts) {
			t.Errorf("%s: the parts did not stay: %v, %v", way.name, have, err)
		}
		if got, err := read(ctx, s, archiveKey); err != nil || !bytes.Equal(got, document) {
			t.Errorf("%s: what was there first: %d bytes, %v", way.name, len(got), err)
		}
		// Where what was in the way is gone, the upload goes on.
		if err := s.Delete(ctx, archiveKey); err != nil {
			t.Fatal(err)
		}
		if _, err = m.Commit(ctx, parts); err != nil {
			t.Errorf("%s: %v", way.name, err)
		}
		if left := leftovers(t, fsys); len(left) > 0 {
			t.Errorf("%s: left %q", way.name, left)
		}
	}
}

func TestPartsVouchesForBytesOnly(t *testing.T) {
	ctx, disk := t.Context(), faulty.NewDisk()
	s := newStore(disk)
	m, parts := begin(t, s, archive)
	edit(t, disk, "tmp/data,x.tar.zst."+token+".partial", 0, []byte{archive[partSize+3] ^ 1}, partSize+3)
	want := slices.Delete(slices.Clone(parts), 1, 2)
	if have, err := m.Parts(ctx); err != nil || !slices.Equal(have, want) {
		t.Errorf("%v, %v", have, err)
	}
	if err := s.Close(); err != nil { // others may go on
		t.Fatal(err)
	}
	trusting := filetree.New(disk, filetree.Options{})
	all, err := uploads(ctx, trusting, "")
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	if have, err := all[0].Parts(ctx); err != nil || !slices.Equal(have, parts) {
		t.Errorf("without reading: %v, %v", have, err)
	}
}

func TestPartIsReplaced(t *testing.T) {
	ctx, disk := t.Context(), faulty.NewDisk()
	fsys := faulty.New(disk)
	s := filetree.New(fsys, filetree.Options{})
	m, old := begin(t, s, archive)
	other := bytesOf(9, len(archive))
	parts := partsOf(other)
	for i, p := range parts {
		if i == 0 {
			// What it was is off the record before its bytes are written over.
			fsys.Inject(faulty.Fault{Call: faulty.Write, Nth: 2, Err: errFault})
			if err := m.Put(ctx, p, pieceOf(other, p)); !errors.Is(err, errFault) {
				t.Fatal(err)
			}
			if have, err := m.Parts(ctx); err != nil || !slices.Equal(have, old[1:]) {
				t.Errorf("%v, %v", have, err)
			}
		}
		if err := m.Put(ctx, p, pieceOf(other, p)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := m.Commit(ctx, old)
	wantKind(t, "commit of what it was", err, core.ErrChanged)
	if _, err := m.Commit(ctx, parts); err != nil {
		t.Fatal(err)
	}
	if got, err := read(ctx, s, archiveKey); err != nil || !bytes.Equal(got, other) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// Whoever was killed between the hard link and the removal of the old name leaves an
// object with two names. Nothing is written to it any more, and it is not lost with
// its second name.
func TestKilledBetweenLinkAndRemove(t *testing.T) {
	ctx, disk := t.Context(), faulty.NewDisk()
	fsys := without(disk, []faulty.Call{faulty.RenameNoReplace})
	s := newStore(fsys)
	m, parts := begin(t, s, archive)
	fsys.Inject(faulty.Fault{Call: faulty.SyncDir, Nth: 1, Err: faulty.ErrStopped})
	if _, err := m.Commit(ctx, parts); !errors.Is(err, faulty.ErrStopped) {
		t.Fatal(err)
	}
	if left := leftovers(t, disk); len(left) != 2 {
		t.Fatalf("left %q", left)
	}
	wantKind(t, "a part", m.Put(ctx, parts[0], pieceOf(archive, parts[0])), core.ErrNotFound)
	_, err := m.Parts(ctx)
	wantKind(t, "parts", err, core.ErrNotFound)
	_, err = m.Commit(ctx, parts)
	wantKind(t, "commit", err, core.ErrNotFound)
	if all, err := uploads(ctx, s, ""); err != nil || len(all) != 0 {
		t.Errorf("shown: %v, %v", all, err)
	}
	if left := leftovers(t, disk); len(left) != 0 {
		t.Errorf("left %q", left)
	}
	if got, err := read(ctx, s, archiveKey); err != nil || !bytes.Equal(got, archive) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestMultipartsShowsWhatIsOursAndLeavesTheRest(t *testing.T) {
	ctx, disk := t.Context(), faulty.NewDisk()
	s := newStore(disk)
	m, parts := begin(t, s, archive)
	if _, err := s.Begin(ctx, "data/y.tar", "zzzzzzzzzzzzzzzz"); err != nil {
		t.Fatal(err)
	}
	foreign := []string{"notes.txt", ".partial", "data,x." + token + ".partial.bak", "data,x.short.partial", "..,x." + token + ".partial"}
	for _, name := range foreign {
		edit(t, disk, "tmp/"+name, os.O_CREATE|os.O_EXCL, []byte("mine"), 0)
	}
	edit(t, disk, "tmp/data,dead."+token+".parts", os.O_CREATE|os.O_EXCL, []byte("what a killed abort left"), 0)
	if err := disk.Mkdir(ctx, "tmp/data,d."+token+".partial"); err != nil {
		t.Fatal(err)
	}
	for prefix, want := range map[string][]string{"": {archiveKey, "data/y.tar"}, "data/y.tar": {"data/y.tar"}, "data/z": nil} {
		all, err := uploads(ctx, s, prefix)
		var got []string
		for _, m := range all {
			got = append(got, m.Key())
			if m.Started().IsZero() || len(m.Token()) != 16 {
				t.Errorf("%s: %v %q", m.Key(), m.Started(), m.Token())
			}
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", prefix, got, err)
		}
	}
	left := leftovers(t, disk)
	for _, name := range foreign {
		if !slices.Contains(left, name) {
			t.Errorf("%s is gone", name)
		}
	}
	if slices.Contains(left, "data,dead."+token+".parts") {
		t.Error("a record without a partial file stayed")
	}
	// Another process goes on with it, but not while the first one does.
	all, err := uploads(ctx, newStore(disk), archiveKey)
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	if have, err := all[0].Parts(ctx); err != nil || len(have) > 0 {
		t.Errorf("vouched for what another writes: %v, %v", have, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if have, err := all[0].Parts(ctx); err != nil || !slices.Equal(have, parts) {
		t.Errorf("%v, %v", have, err)
	}
	if _, err := all[0].Commit(ctx, parts); err != nil {
		t.Error(err)
	}
	_, err = m.Commit(ctx, parts)
	wantKind(t, "the first process comes second", err, core.ErrNotFound)
}

// A claim keeps others away while it is young, and not for ever.
func TestClaimLeftBehind(t *testing.T) {
	ctx, disk := t.Context(), faulty.NewDisk()
	fsys := without(disk, primitives[2].without)
	s := newStore(fsys)
	m, parts := begin(t, s, archive)
	fsys.Inject(faulty.Fault{Call: faulty.Rename, Nth: 1, Rest: true, Err: faulty.ErrStopped})
	if _, err := m.Commit(ctx, parts); !errors.Is(err, faulty.ErrStopped) {
		t.Fatal(err)
	}
	s = newStore(without(disk, primitives[2].without))
	_, err := put(ctx, s, archiveKey, document)
	wantKind(t, "while the claim is young", err, core.ErrUnavailable)
	all, err := uploads(ctx, s, "")
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	_, err = all[0].Commit(ctx, parts)
	wantKind(t, "while the claim is young", err, core.ErrUnavailable)
	disk.Advance(2 * time.Minute)
	if _, err = all[0].Commit(ctx, parts); err != nil {
		t.Error(err)
	}
	if left := leftovers(t, disk); len(left) != 0 {
		t.Errorf("left %q", left)
	}
}

func TestOptionsAndClose(t *testing.T) {
	s := newStore(faulty.NewDisk())
	if l := s.Limits(); l.PartSize != partSize || l.Workers != 2 || l.MaxParts != 0 {
		t.Errorf("%+v", l)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = filetree.New(faulty.NewDisk(), filetree.Options{Chance: bytes.NewReader(nil)})
	if _, err := put(t.Context(), s, metaKey, document); err == nil {
		t.Error("a token without chance")
	}
}
