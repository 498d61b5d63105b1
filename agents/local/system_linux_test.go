package local

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
	"github.com/offsite-backup/offsite/core/filetree/faulty"
	"github.com/offsite-backup/offsite/core/object"
)

// small returns a file system with a few MiB of space and what gives it more: a
// real one where mounting is allowed, else one that counts.
func small(t *testing.T) (fsys filetree.FS, dir string, more func()) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "full")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Logf("no mount (%v): the disk is only said to be full", err)
		counting := faulty.New(tree{dir})
		counting.Space(4 << 20)
		return counting, dir, func() { counting.Space(-1) }
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return tree{dir}, dir, func() {
		if err := unix.Mount("none", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFullDisk(t *testing.T) {
	ctx := t.Context()
	fsys, dir, more := small(t)
	env := core.Env{Name: "full"}
	agent := object.New(newStore(fsys, env), env)
	archive := file(t, 6<<20)
	draft := core.Backup{ID: "id"}
	for range 2 {
		_, err := core.Upload(ctx, agent, archive, draft)
		wantKind(t, "upload", err, core.ErrNoSpace)
		if ids, err := list(ctx, agent); err != nil || len(ids) > 0 {
			t.Errorf("listed %v, %v", ids, err)
		}
		if all := snapshot(t, dir); len(all) > 0 {
			t.Errorf("left %v", all)
		}
	}
	more()
	if _, err := core.Upload(ctx, agent, archive, draft); err != nil {
		t.Error(err)
	}
}

func TestFullDiskInTheMiddleOfParts(t *testing.T) {
	ctx := t.Context()
	fsys, _, more := small(t)
	s := newStore(fsys, core.Env{})
	body := make([]byte, 6<<20)
	var parts []object.Part
	for at := 0; at < len(body); at += 1 << 20 {
		body[at] = byte(at >> 20)
		crc := core.NewCRC64()
		_, _ = crc.Write(body[at : at+1<<20])
		parts = append(parts, object.Part{Index: len(parts), Offset: int64(at), Size: 1 << 20, CRC64: core.CRC64(crc.Sum64())})
	}
	m, err := s.Begin(ctx, killedKey, "0123456789abcdef")
	for i := 0; err == nil && i < len(parts); i++ {
		err = m.Put(ctx, parts[i], section(body[parts[i].Offset:][:parts[i].Size]))
	}
	wantKind(t, "a part", err, core.ErrNoSpace)
	have, err := m.Parts(ctx)
	if err != nil || len(have) < 2 || len(have) == len(parts) {
		t.Fatalf("on record: %v, %v", have, err)
	}
	if _, err := s.Stat(ctx, killedKey); !errors.Is(err, core.ErrNotFound) {
		t.Error(err)
	}
	more()
	for _, p := range parts {
		if slices.Contains(have, p) {
			continue
		}
		if err := m.Put(ctx, p, section(body[p.Offset:][:p.Size])); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Commit(ctx, parts); err != nil {
		t.Fatal(err)
	}
	if got, err := get(ctx, s, killedKey); err != nil || !slices.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// asNobody calls f with the rights of another user.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		f() // is nobody special already
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setfsuid(0); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

func TestDenied(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := newStore(tree{dir}, core.Env{})
	for _, key := range []string{"meta/a.json", "data/a"} {
		if err := put(ctx, s, key, []byte("bytes")); err != nil {
			t.Fatal(err)
		}
	}
	o, err := s.Stat(ctx, "data/a")
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Begin(ctx, "data/b", "0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{
		filepath.Dir(dir): 0o755, dir: 0o555, dir + "/data": 0o555, dir + "/data/a": 0, dir + "/meta": 0, dir + "/tmp": 0o555,
	} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(path, 0o700)
	}
	asNobody(t, func() {
		wantKind(t, "put", put(ctx, s, "data/c", []byte("x")), core.ErrDenied)
		wantKind(t, "put in a new directory", put(ctx, s, "new/c", []byte("x")), core.ErrDenied)
		_, err := s.Range(ctx, o, 0, 1)
		wantKind(t, "range", err, core.ErrDenied)
		_, err = s.Stat(ctx, "meta/a.json")
		wantKind(t, "stat", err, core.ErrDenied)
		_, err = s.Stat(ctx, "meta/b.json")
		wantKind(t, "stat of what is not there", err, core.ErrDenied)
		for _, err := range s.List(ctx, "meta/", "") {
			wantKind(t, "list", err, core.ErrDenied)
		}
		wantKind(t, "delete", s.Delete(ctx, "data/a"), core.ErrDenied)
		_, err = s.Begin(ctx, "data/c", "0123456789abcdef")
		wantKind(t, "begin", err, core.ErrDenied)
		wantKind(t, "abort", m.Abort(ctx), core.ErrDenied)
	})
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		for _, err := range s.List(ctx, "data/", "") {
			wantKind(t, "list of a place that is closed", err, core.ErrDenied)
		}
	})
}

// A pipe in a file's place holds nobody.
func TestPipeInAFilesPlace(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "meta"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "meta", "a.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := newStore(tree{dir}, core.Env{})
		_, err := s.Range(ctx, object.Object{Key: "meta/a.json", Size: 1}, 0, 1)
		wantKind(t, "range", err, core.ErrNotFound)
		for _, flag := range []int{os.O_RDONLY, os.O_WRONLY} {
			// Put there between a look and the open.
			if f, err := (tree{dir}).OpenFile(ctx, "meta/a.json", flag); err == nil {
				_ = f.Close()
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("opening a pipe does not come back")
	}
}

// Nothing is held open between calls, whatever failed.
func TestNothingStaysOpen(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	use := func() {
		s := newStore(tree{dir}, core.Env{})
		_ = put(ctx, s, "data/a", []byte("x"))
		_ = put(ctx, s, "data/a", []byte("x"))
		m, err := s.Begin(ctx, "data/b", "0123456789abcdef")
		if err != nil {
			t.Fatal(err)
		}
		body := []byte("0123456789")
		p := object.Part{Size: 10, CRC64: 1}
		_ = m.Put(ctx, p, section(body))
		_ = m.Put(ctx, p, io.NewSectionReader(section(body), 0, 20))
		_, _ = m.Parts(ctx)
		_, _ = m.Commit(ctx, []object.Part{p})
		if o, err := s.Stat(ctx, "data/a"); err == nil {
			if r, err := s.Range(ctx, o, 0, 1); err == nil {
				_ = r.Close()
			}
			o.Version = "another"
			_, _ = s.Range(ctx, o, 0, 1)
		}
		for range s.List(ctx, "", "") {
			break
		}
		for range s.Multiparts(ctx, "") {
			break
		}
		_ = m.Abort(ctx)
	}
	use()
	before := count()
	for range 20 {
		use()
	}
	if after := count(); after > before {
		t.Errorf("%d files open, then %d", before, after)
	}
}
