package local

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/offsite-backup/offsite/core"
)

// stat describes a file.
func stat(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// wantOwn checks that the archive at a place is this user's alone, and under one name.
func wantOwn(t *testing.T, dir string) {
	t.Helper()
	info := stat(t, filepath.Join(dir, sharedKey))
	sys := info.Sys().(*syscall.Stat_t)
	if info.Mode() != 0o600 || int(sys.Uid) != os.Getuid() || sys.Nlink != 1 {
		t.Errorf("the archive is %v of %v, with %d names", info.Mode(), sys.Uid, sys.Nlink)
	}
}

// On one file system the archive is the spool, from when it is half packed, and what
// stays when the spool is removed.
func TestShare(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "place")
	s := newSpool(t, t.TempDir())
	path := s.SealedFile()
	uploadPacking(t, tree{dir}, s, func() {
		if all := names(t, dir); len(all) != 1 || !strings.HasSuffix(all[0], ".shared") || !os.SameFile(stat(t, path), stat(t, filepath.Join(dir, "tmp", all[0]))) {
			t.Errorf("half packed, tmp has %q", all)
		}
		if ids, err := list(t.Context(), open(t, dir)); err != nil || len(ids) > 0 {
			t.Errorf("half packed, listed %v, %v", ids, err)
		}
	})
	if !os.SameFile(stat(t, path), stat(t, filepath.Join(dir, sharedKey))) {
		t.Error("the archive is not the spool")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wantBackup(t, dir, s.body)
	wantOwn(t, dir)
}

// A backup that is deleted takes nothing from the spool that others still read.
func TestDeleteLeavesTheSpool(t *testing.T) {
	dir, s := t.TempDir(), newSpool(t, t.TempDir())
	uploadPacking(t, tree{dir}, s, func() {})
	if err := open(t, dir).Delete(t.Context(), sharedID); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(s.SealedFile()); err != nil || !bytes.Equal(got, s.body) {
		t.Errorf("the spool has %d other bytes, %v", len(got), err)
	}
}

// One file is one copy: the second place on the file system gets its own.
func TestSharedOnce(t *testing.T) {
	first, second, s := t.TempDir(), t.TempDir(), newSpool(t, t.TempDir())
	uploadPacking(t, tree{first}, s, func() {})
	if err := inSmallParts(tree{second}, core.Env{}).Upload(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if os.SameFile(stat(t, filepath.Join(first, sharedKey)), stat(t, filepath.Join(second, sharedKey))) {
		t.Error("two places have one file between them")
	}
	wantBackup(t, first, s.body)
	wantBackup(t, second, s.body)
}

// What is not like a new file of the place is copied, while it is packed.
func TestUnshared(t *testing.T) {
	memory, err := os.MkdirTemp("/dev/shm", "offsite")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(memory)
	for name, c := range map[string]struct {
		spool string // the directory of the spool, where that matters
		place string
		spoil func(t *testing.T, s *spool, path string)
	}{
		"from the disk to memory": {place: filepath.Join(memory, "place")},
		"from memory to the disk": {spool: memory},
		"a mode of its own": {spoil: func(t *testing.T, s *spool, path string) {
			if err := os.Chmod(path, 0o640); err != nil {
				t.Fatal(err)
			}
		}},
		"a link": {spoil: func(t *testing.T, s *spool, path string) {
			s.named = filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(path, s.named); err != nil {
				t.Fatal(err)
			}
		}},
		"a pipe": {spoil: func(t *testing.T, s *spool, path string) {
			s.named = filepath.Join(t.TempDir(), "pipe")
			if err := syscall.Mkfifo(s.named, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		"gone": {spoil: func(t *testing.T, s *spool, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}},
		"another file": {spoil: func(t *testing.T, s *spool, path string) {
			s.named = filepath.Join(t.TempDir(), "other")
			if err := os.WriteFile(s.named, make([]byte, spoolSize), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		"another user's": {spoil: func(t *testing.T, s *spool, path string) {
			if err := os.Chown(path, 65534, 65534); err != nil && os.Getuid() == 0 {
				t.Fatal(err)
			} else if err != nil {
				t.Log("only root can give files away")
				s.named = "/etc/passwd"
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.spool == "" {
				c.spool = t.TempDir()
			}
			if c.place == "" {
				c.place = t.TempDir()
			}
			s := newSpool(t, c.spool)
			path := s.SealedFile()
			before, err := s.file.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if c.spoil != nil {
				c.spoil(t, s, path)
			}
			uploadPacking(t, tree{c.place}, s, func() {
				if all := names(t, c.place); slices.ContainsFunc(all, func(n string) bool { return strings.HasSuffix(n, ".shared") }) {
					t.Errorf("tmp has %q", all)
				}
			})
			if os.SameFile(before, stat(t, filepath.Join(c.place, sharedKey))) {
				t.Error("the archive is the spool")
			}
			wantBackup(t, c.place, s.body)
			wantOwn(t, c.place)
		})
	}
}

// A link that did not get the file that is open is taken back.
func TestLinkToAnotherFile(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	path := file(t, 10)
	f, err := tree{dir}.OpenLocal(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for what, swap := range map[string]func() error{
		"a file": func() error { return os.WriteFile(path, nil, 0o600) },
		"a link": func() error { return os.Symlink("/etc/passwd", path) },
	} {
		if err := errors.Join(os.Remove(path), swap()); err != nil {
			t.Fatal(err)
		}
		if err := f.Link(ctx, "name"); err == nil {
			t.Errorf("%s in the file's place was linked to", what)
		}
	}
	if all := snapshot(t, dir); len(all) > 0 {
		t.Errorf("left %v", all)
	}
}

// clonesDir names a directory on a file system that clones, for a machine on which
// the tests' own does not.
const clonesDir = "OFFSITE_TEST_CLONES"

// Where two files can share blocks and not a name, they share blocks.
func TestClone(t *testing.T) {
	base := t.TempDir()
	if dir := os.Getenv(clonesDir); dir != "" {
		var err error
		if base, err = os.MkdirTemp(dir, "offsite"); err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(base)
	}
	dir, s := filepath.Join(base, "place"), newSpool(t, base)
	if err := os.Link(s.SealedFile(), filepath.Join(base, "second")); err != nil {
		t.Fatal(err)
	}
	clones := clonesHere(t, base)
	t.Logf("the file system clones: %v", clones)
	uploadPacking(t, tree{dir}, s, func() {
		shared := slices.ContainsFunc(names(t, dir), func(n string) bool { return strings.HasSuffix(n, ".shared") })
		if shared != clones {
			t.Errorf("cloned: %v", shared)
		}
	})
	// What is written to the spool now is not written to the archive.
	if _, err := s.file.WriteAt(make([]byte, 1<<20), 0); err != nil {
		t.Fatal(err)
	}
	wantBackup(t, dir, s.body)
}

func clonesHere(t *testing.T, dir string) bool {
	t.Helper()
	from, err := os.Create(filepath.Join(dir, "from"))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Create(filepath.Join(dir, "to"))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	err = clone(to, from)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.ENOTTY) {
		t.Error(err)
	}
	return err == nil
}
