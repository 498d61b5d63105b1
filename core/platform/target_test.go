package platform

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// tree describes what lies below a directory: content, links, modes of folders.
func tree(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		line, _ := filepath.Rel(dir, path)
		switch {
		case d.IsDir():
			info, err := d.Info()
			if err != nil {
				return err
			}
			line += "/ " + info.Mode().Perm().String()
		case d.Type() == os.ModeSymlink:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + to
		default:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += " = " + string(content)
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMoveInto(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, filepath.Join(outside, "x"), "not ours")
	in := func(name string) string { return filepath.Join(dir, name) }
	write(t, in("old/kept"), "old")
	write(t, in("old/file"), "old")
	write(t, in("old/sub/kept"), "old")
	write(t, in("old/sub/file"), "old")
	write(t, in("old/was-file"), "old")
	if err := errors.Join(os.Symlink(outside, in("old/was-link")), os.Mkdir(in("old/was-folder"), 0o700)); err != nil {
		t.Fatal(err)
	}
	write(t, in("new/file"), "new")
	write(t, in("new/sub/file"), "new")
	write(t, in("new/closed/file"), "new")
	write(t, in("new/was-file/x"), "new")
	write(t, in("new/was-link/x"), "new")
	write(t, in("new/was-folder"), "new")
	at := time.Unix(1_000_000_000, 5)
	for _, name := range []string{"new/sub", "new/closed"} {
		if err := errors.Join(os.Chtimes(in(name), at, at), os.Chmod(in(name), 0o555)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := moveInto(root, "new", "old"); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"closed/ -r-xr-xr-x", "closed/file = new", "file = new", "kept = old", "sub/ -r-xr-xr-x", "sub/file = new", "sub/kept = old",
		"was-file/ -rwx------", "was-file/x = new", "was-folder = new", "was-link/ -rwx------", "was-link/x = new",
	}
	if got := tree(t, in("old")); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, name := range []string{"old/sub", "old/closed"} {
		if info, err := os.Stat(in(name)); err != nil || !info.ModTime().Equal(at) {
			t.Errorf("%s: %v, %v", name, info.ModTime(), err)
		}
	}
	if got := tree(t, outside); !slices.Equal(got, []string{"x = not ours"}) {
		t.Errorf("outside: %v", got)
	}
	write(t, in("again/kept/x"), "new")
	write(t, in("third"), "")
	write(t, in("more/was-link"), "new")
	if err := moveInto(root, "more", "old"); !errors.Is(err, core.ErrExists) {
		t.Errorf("a file in the place of a folder with something in it: %v", err)
	}
}

// TestOverwriteKeepsUntilWhole overwrites with a backup that proves damaged: what
// was there is as it was.
func TestOverwriteKeepsUntilWhole(t *testing.T) {
	w := newWorld(t)
	w.Agents = w.Agents[:1]
	report, err := w.Run(t.Context(), w.job())
	if err != nil {
		t.Fatal(err)
	}
	id := report.Backup.ID
	if _, err := w.Restore(t.Context(), id, w.at("dest"), RestoreOptions{Below: w.source}); err != nil {
		t.Fatal(err)
	}
	write(t, w.at("dest/big"), "mine")
	before := tree(t, w.at("dest"))
	path := w.at("one/data/" + string(id) + ".tar.zst")
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stored[len(stored)/2] ^= 1
	if err := os.WriteFile(path, stored, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Restore(t.Context(), id, w.at("dest"), RestoreOptions{Below: w.source, Overwrite: true}); !errors.Is(err, core.ErrDamaged) {
		t.Fatalf("restore of a damaged archive: %v", err)
	}
	if after := tree(t, w.at("dest")); !slices.Equal(before, after) {
		t.Errorf("before\n%s\nafter\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if partial, _ := filepath.Glob(w.at("dest.*")); len(partial) > 0 {
		t.Errorf("left: %v", partial)
	}
}
