package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/core"
)

func open(t *testing.T, dir string) core.Agent {
	t.Helper()
	agent, err := (&Config{Dir: dir}).Open(t.Context(), core.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := agent.Close(); err != nil {
			t.Error(err)
		}
	})
	return agent
}

func wantKind(t *testing.T, what string, err error, want core.ErrorKind) {
	t.Helper()
	if core.KindOf(err) != want {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

// file makes a file of random bytes to upload.
func file(t *testing.T, size int) string {
	t.Helper()
	body := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(body)
	path := filepath.Join(t.TempDir(), "archive.tar.zst")
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func list(ctx context.Context, a core.Agent) (ids []core.ID, err error) {
	for b, err := range a.List(ctx) {
		if err != nil {
			return ids, err
		}
		ids = append(ids, b.ID)
	}
	return ids, nil
}

// snapshot describes everything below a directory.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		state := fmt.Sprint(info.Mode(), info.ModTime())
		if info.Mode().IsRegular() {
			body, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			state += fmt.Sprintf(" %x", sha256.Sum256(body))
		}
		rel, err := filepath.Rel(dir, path)
		if rel != "." && !info.IsDir() {
			all[rel] = state
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSetURL(t *testing.T) {
	kinds := core.Kinds{Kind()}
	for _, test := range []struct {
		place, dir string
		kind       core.ErrorKind
	}{
		{"./copies", "./copies", ""},
		{"/srv/backups", "/srv/backups", ""},
		{"copies", "copies", ""},
		{"a dir with %20 and ?", "a dir with %20 and ?", ""},
		{"local:/srv/backups", "/srv/backups", ""},
		{"local:///srv/backups", "/srv/backups", ""},
		{"local:copies", "copies", ""},
		{"local:./copies", "./copies", ""},
		{"local:../a%20b%3Fc%23d", "../a b?c#d", ""},
		{"local:/a%20b", "/a b", ""},
		{"local:/srv?x=1", "", core.ErrInvalid},
		{"local:srv?", "", core.ErrInvalid},
		{"local:/srv#1", "", core.ErrInvalid},
		{"local://host/srv", "", core.ErrInvalid},
		{"local://user@/srv", "", core.ErrInvalid},
		{"local:a%2", "", core.ErrInvalid},
		{"nfs:/srv", "", core.ErrInvalid},
	} {
		c, err := kinds.Parse(test.place)
		wantKind(t, test.place, err, test.kind)
		if err == nil && c.(*Config).Dir != filepath.FromSlash(test.dir) {
			t.Errorf("%q is %q", test.place, c.(*Config).Dir)
		}
	}
}

func TestPlaceIsOneNameFromEverywhere(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	want := (&Config{Dir: filepath.Join(dir, "copies")}).Place()
	for _, word := range []string{"copies", "./copies", "copies/", "x/../copies"} {
		if got := (&Config{Dir: word}).Place(); got != want || !strings.HasPrefix(got, "local:") {
			t.Errorf("%s is %s, want %s", word, got, want)
		}
	}
	if agent := open(t, "copies"); agent.Name() != want {
		t.Errorf("it is called %s", agent.Name())
	}
	agent, err := (&Config{Dir: "copies"}).Open(t.Context(), core.Env{Name: "disk"})
	if err != nil || agent.Name() != "disk" {
		t.Error(agent, err)
	}
	// It stays where it was opened.
	id, at := core.ID("id1"), filepath.Join(dir, "copies", "meta", "id1.json")
	archive := file(t, 10)
	t.Chdir(t.TempDir())
	if _, err := core.Upload(t.Context(), agent, archive, core.Backup{ID: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(at); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"", "file", "a\x00b", "~", "~/copies"} {
		_, err := (&Config{Dir: word}).Open(t.Context(), core.Env{})
		wantKind(t, word, err, core.ErrInvalid)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&Config{Dir: "x"}).Open(ctx, core.Env{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	open(t, "not/there/yet")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("opening made %v, %v", left, err)
	}
}

func TestBackupsComeBack(t *testing.T) {
	for _, size := range []int{0, 1, 32 << 20, 32<<20 + 1} {
		dir := filepath.Join(t.TempDir(), "a", "b")
		agent, archive := open(t, dir), file(t, size)
		_, err := list(t.Context(), agent)
		wantKind(t, "list before there is a place", err, core.ErrNoPlace)
		stored, err := core.Upload(t.Context(), agent, archive, core.Backup{Name: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if ids, err := list(t.Context(), open(t, dir)); err != nil || !slices.Equal(ids, []core.ID{stored.ID}) {
			t.Errorf("%d bytes: listed %v, %v", size, ids, err)
		}
		back := filepath.Join(t.TempDir(), "back")
		if _, err := core.Download(t.Context(), agent, stored.ID, back); err != nil {
			t.Fatal(err)
		}
		want, _ := os.ReadFile(archive)
		if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %d came back, %v", size, len(got), err)
		}
		for name, state := range snapshot(t, dir) {
			if !strings.HasPrefix(state, "-rw-------") {
				t.Errorf("%s has %s", name, state)
			}
		}
		for _, name := range []string{"..", ".", "meta", "data", "tmp"} {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%s has %v, %v", name, info.Mode(), err)
			}
		}
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
			t.Errorf("%d bytes: left %v, %v", size, left, err)
		}
		if err := agent.Delete(t.Context(), stored.ID); err != nil {
			t.Error(err)
		}
		if all := slices.Collect(maps.Keys(snapshot(t, dir))); !slices.Equal(all, []string{"gone/" + string(stored.ID)}) {
			t.Errorf("%d bytes: after the delete there is %v", size, all)
		}
	}
}

func TestDirectoryThatComesAndGoes(t *testing.T) {
	ctx, dir := t.Context(), filepath.Join(t.TempDir(), "place")
	agent := open(t, dir)
	_, err := list(ctx, agent)
	wantKind(t, "before", err, core.ErrNoPlace)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if ids, err := list(ctx, agent); err != nil || len(ids) > 0 {
		t.Error(ids, err)
	}
	for i := range 2 {
		if _, err := core.Upload(ctx, agent, file(t, 100), core.Backup{ID: core.ID(fmt.Sprint("id", i))}); err != nil {
			t.Fatal(err)
		}
		if ids, err := list(ctx, agent); err != nil || len(ids) != 1 {
			t.Error(ids, err)
		}
		if err := os.Rename(dir, dir+fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = agent.Get(ctx, "id0")
	wantKind(t, "after", err, core.ErrNoPlace)
}

func TestOthersFilesAreLeftAlone(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	for _, name := range []string{"README", "meta/notes.txt", "meta/x y.json", "meta/.DS_Store", "meta/sub/id.json", "meta/\n.json", "data/foreign.TAR", "data/lost/found", "tmp/mine", "tmp/mine.partial", "photos/1.jpg", "meta/dir.json/x"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "meta/link.json")); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)
	agent := open(t, dir)
	b, err := core.Upload(ctx, agent, file(t, 100), core.Backup{})
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := list(ctx, agent); err != nil || !slices.Equal(ids, []core.ID{b.ID}) {
		t.Errorf("listed %v, %v", ids, err)
	}
	for _, id := range []core.ID{"link", "dir"} {
		_, err := agent.Get(ctx, id)
		wantKind(t, string(id), err, core.ErrNotFound)
		wantKind(t, string(id), agent.Delete(ctx, id), core.ErrNotFound)
		_, err = core.Upload(ctx, agent, file(t, 10), core.Backup{ID: id})
		wantKind(t, string(id), err, core.ErrExists)
	}
	for l, err := range agent.(core.Sweeper).Sweep(ctx, func(core.ID) bool { return true }) {
		if err != nil {
			t.Errorf("%+v, %v", l, err)
		}
	}
	if err := agent.Delete(ctx, b.ID); err != nil {
		t.Error(err)
	}
	after := snapshot(t, dir)
	delete(after, "gone/"+string(b.ID))
	if !maps.Equal(before, after) {
		t.Errorf("before %v\nafter %v", before, after)
	}
}

// A directory of ours that is a link is refused by all that would go through it,
// wherever it leads.
func TestLinksAreNotFollowed(t *testing.T) {
	for _, target := range []string{"outside", "inside", "dangling"} {
		for _, name := range []string{"meta", "data", "tmp"} {
			t.Run(name+" to "+target, func(t *testing.T) {
				ctx, dir, outside := t.Context(), t.TempDir(), t.TempDir()
				agent := open(t, dir)
				b, err := core.Upload(ctx, agent, file(t, 100), core.Backup{})
				if err != nil {
					t.Fatal(err)
				}
				to := map[string]string{"outside": outside, "inside": "elsewhere", "dangling": "nowhere"}[target]
				if err := os.MkdirAll(filepath.Join(dir, "elsewhere"), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(filepath.Join(dir, name), filepath.Join(outside, name)); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
				before := snapshot(t, outside)
				_, err = core.Upload(ctx, agent, file(t, 200), core.Backup{})
				wantKind(t, "upload", err, core.ErrUnsupported)
				if name == "meta" {
					_, err = list(ctx, agent)
					wantKind(t, "list", err, core.ErrUnsupported)
				}
				if name != "tmp" {
					_, err = agent.Get(ctx, b.ID)
					wantKind(t, "get", err, core.ErrUnsupported)
				}
				if name == "meta" {
					wantKind(t, "delete", agent.Delete(ctx, b.ID), core.ErrUnsupported)
				}
				if after := snapshot(t, outside); !maps.Equal(before, after) {
					t.Errorf("outside: before %v, after %v", before, after)
				}
				if in, err := os.ReadDir(filepath.Join(dir, "elsewhere")); err != nil || len(in) > 0 {
					t.Errorf("elsewhere: %v, %v", in, err)
				}
			})
		}
	}
}

func TestKindOfErrors(t *testing.T) {
	for _, k := range kinds {
		if got := (tree{}).Kind(&fs.PathError{Op: "open", Path: "x", Err: k.err}); got != k.kind {
			t.Errorf("%v is %s", k.err, got)
		}
	}
	if got := (tree{}).Kind(os.ErrProcessDone); got != core.ErrDenied {
		t.Errorf("what os.Root says is %s", got)
	}
}

func TestNamesDoNotLeadThroughLinks(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	fsys := tree{dir}
	for _, name := range []string{"real", "elsewhere"} {
		if err := fsys.Mkdir(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "real", "x"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]func(string, string) error{
		"rename":       func(from, to string) error { return fsys.Rename(ctx, from, to) },
		"rename alone": func(from, to string) error { return fsys.RenameNoReplace(ctx, from, to) },
		"link":         func(from, to string) error { return fsys.Link(ctx, from, to) },
	} {
		wantKind(t, what+" to", f("real/x", "link/y"), core.ErrUnsupported)
		wantKind(t, what+" from", f("link/x", "real/y"), core.ErrUnsupported)
	}
	wantKind(t, "mkdir", fsys.Mkdir(ctx, "link/d"), core.ErrUnsupported)
	wantKind(t, "remove", fsys.Remove(ctx, "link/x"), core.ErrUnsupported)
	wantKind(t, "sync", fsys.SyncDir(ctx, "link"), core.ErrUnsupported)
	_, err := fsys.ReadDir(ctx, "link")
	wantKind(t, "readdir", err, core.ErrUnsupported)
	_, err = fsys.OpenFile(ctx, "link/x", os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	wantKind(t, "create", err, core.ErrUnsupported)
	if all := snapshot(t, dir); len(all) != 2 {
		t.Errorf("there is %v", all)
	}
}

// TestMustExist stores nothing where a disk is not mounted, and does where it is.
func TestMustExist(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disk", "backups")
	a, err := (&Config{Dir: dir, MustExist: true}).Open(t.Context(), core.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	file := filepath.Join(t.TempDir(), "archive.bin")
	if err := os.WriteFile(file, []byte("an archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	id := core.ID("20261123T045900Z-mustexistmust")
	upload := func() error { _, err := core.Upload(t.Context(), a, file, core.Backup{ID: id}); return err }
	if err := upload(); !errors.Is(err, core.ErrNoPlace) {
		t.Errorf("no disk: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := upload(); err != nil {
		t.Error(err)
	}
}
