package archive_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/archive"
)

// refused checks that nothing is written and the error is of a kind and names
// what is wrong.
func refused(t *testing.T, o archive.Options, kind core.ErrorKind, name string) {
	t.Helper()
	wrote := 0
	_, err := archive.Pack(t.Context(), writer(func(b []byte) (int, error) {
		wrote += len(b)
		return len(b), nil
	}), o)
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), name) || wrote > 0 {
		t.Errorf("%q: %v after %d bytes, want %v and %q", o.Paths, err, wrote, kind, name)
	}
}

func TestPackRefuses(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/full/file", "x")
	write(t, dir+"/temporary/only.tmp", "x")
	must(t, os.MkdirAll(dir+"/empty/in/there", 0o755))
	must(t, os.Symlink("nowhere", dir+"/dangling"))
	must(t, os.Symlink("full", dir+"/link"))
	full := dir + "/full"
	refused(t, archive.Options{}, core.ErrInvalid, "no path")
	refused(t, archive.Options{Paths: []string{""}}, core.ErrInvalid, "empty")
	refused(t, archive.Options{Paths: []string{full, dir + "/missing"}}, core.ErrNotFound, dir+"/missing")
	refused(t, archive.Options{Paths: []string{full, dir + "/dangling"}}, core.ErrNotFound, dir+"/dangling")
	refused(t, archive.Options{Paths: []string{full, dir + "/full/file/below"}}, core.ErrUnavailable, "below")
	refused(t, archive.Options{Paths: []string{full, dir + "/empty"}}, core.ErrInvalid, dir+"/empty")
	refused(t, archive.Options{Paths: []string{full, dir + "/temporary"}, Exclude: []string{"*.tmp"}}, core.ErrInvalid, dir+"/temporary")
	refused(t, archive.Options{Paths: []string{full}, Leave: []string{full}}, core.ErrInvalid, full)
	refused(t, archive.Options{Paths: []string{dir, dir + "/link/file"}}, core.ErrInvalid, "symbolic link")
	refused(t, archive.Options{Paths: []string{full}, Dirs: map[string]string{"hooks/db": dir + "/missing"}}, core.ErrNotFound, dir+"/missing")
	for _, name := range []string{"", "/", "/hooks", "hooks/", "hooks//db", "hooks/../db", ".", "a\x00b"} {
		refused(t, archive.Options{Paths: []string{full}, Dirs: map[string]string{name: full}}, core.ErrInvalid, "no name")
	}
	refused(t, archive.Options{Dirs: map[string]string{"hooks/a": full, "hooks/a/b": full}}, core.ErrInvalid, "hooks/a")
	for _, pattern := range []string{"", "/", "[", "a//b", "a/../b", "**/x", "./x"} {
		refused(t, archive.Options{Paths: []string{full}, Exclude: []string{pattern}}, core.ErrInvalid, "exclude")
	}
}

// What a hook leaves has a name that begins with "hooks/", and so nothing else
// may.
func TestPackRefusesCollision(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/file", "x")
	top, _, _ := strings.Cut(strings.TrimPrefix(dir, "/"), "/")
	dirs := map[string]string{top + "/db": dir}
	refused(t, archive.Options{Paths: []string{dir}, Dirs: dirs}, core.ErrInvalid, dir)
	refused(t, archive.Options{Paths: []string{"/" + top}, Dirs: dirs}, core.ErrInvalid, "/"+top)
	refused(t, archive.Options{Paths: []string{"/"}, Dirs: dirs}, core.ErrInvalid, `"/"`)
}

func TestPackEmptyWhereAllowed(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(dir+"/empty/in/there", 0o755))
	p := pack(t, archive.Options{Paths: []string{dir + "/empty"}, AllowEmpty: true})
	equal(t, names(p.list(t), dir), []string{"empty", "empty/in", "empty/in/there"})
	p.unpack(t)

	p = pack(t, archive.Options{Paths: []string{dir + "/empty"}, Leave: []string{dir + "/empty"}, AllowEmpty: true})
	if got := p.list(t); len(got) > 0 || p.stats.Entries > 0 {
		t.Errorf("entries: %v", got)
	}
	if _, err := p.open(t).Find(t.Context(), "x"); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("find: %v", err)
	}
	p.unpack(t)
}

// The order over all roots is one: by the parts of a name.
func TestPackOrder(t *testing.T) {
	dir, dump := t.TempDir(), t.TempDir()
	for _, name := range []string{"b/c", "b-c", "b/a/x", "b/a!", "b0", "a", "Z/\x01", "Z/\x01\xff"} {
		write(t, dir+"/"+name, name)
	}
	write(t, dump+"/app.dump", "x")
	// Paths in others, twice, relative and with a slash at the end are one.
	t.Chdir(dir)
	p := pack(t, archive.Options{
		Paths: []string{"./b", dir + "/", dir + "/b/a", ".", "b-c"},
		Dirs:  map[string]string{"0/first": dump, "~/last": dump, strings.TrimPrefix(dir, "/")[:1] + "!/db": dump},
	})
	got := p.list(t)
	if !slices.IsSortedFunc(got, func(a, b archive.Entry) int {
		return slices.Compare(strings.Split(a.Name, "/"), strings.Split(b.Name, "/"))
	}) {
		t.Errorf("not in order: %v", got)
	}
	equal(t, names(got, dir), []string{"Z", "Z/\x01", "Z/\x01\xff", "a", "b", "b/a", "b/a/x", "b/a!", "b/c", "b-c", "b0"})
	equal(t, names(got, "/0"), []string{"first", "first/app.dump"})
	equal(t, names(got, "/~"), []string{"last", "last/app.dump"})
	if want := int64(len(got)); p.stats.Entries != want || p.open(t).Len() != want {
		t.Errorf("counted %d and %d of %d", p.stats.Entries, p.open(t).Len(), want)
	}
}

// A path that is a symbolic link stands for what it points to; a link that is
// found is archived as one.
func TestPackLinkedPath(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/real/file", "x")
	must(t, os.Symlink("real", dir+"/link"))
	must(t, os.Symlink(dir, dir+"/loop"))
	must(t, os.Symlink("real/file", dir+"/to-file"))
	p := pack(t, archive.Options{Paths: []string{dir + "/link"}})
	equal(t, names(p.list(t), dir), []string{"link", "link/file"})
	p = pack(t, archive.Options{Paths: []string{dir + "/to-file"}})
	if contentOf(t, p, dir+"/to-file") != "x" {
		t.Error("content differs")
	}
	p = pack(t, archive.Options{Paths: []string{dir, dir + "/link", dir + "/link/file", dir + "/loop"}})
	equal(t, names(p.list(t), dir), []string{
		"link", "link/file",
		"loop", "loop/link", "loop/loop", "loop/real", "loop/real/file", "loop/to-file",
		"real", "real/file", "to-file",
	})
	p.unpack(t)
}

func TestPackExclude(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"keep", "a.tmp", "sub/b.tmp", "sub/b.tmp.gz", "cache/x", "sub/cache/x", "file/cache",
		"data/x.lock", "sub/data/x.lock", "one/two/three", "sub/one/two/three", "tmp/b.tmp/x",
	} {
		write(t, dir+"/"+name, name)
	}
	got := func(patterns ...string) []string {
		p := pack(t, archive.Options{Paths: []string{dir}, Exclude: patterns})
		var files []string
		for _, e := range p.list(t) {
			if e.Mode.IsRegular() {
				files = append(files, "/"+e.Name[len(dir):])
			}
		}
		return files
	}
	all := got()
	without := func(names ...string) (want []string) {
		for _, name := range all {
			if !slices.Contains(names, name[1:]) {
				want = append(want, name)
			}
		}
		return want
	}
	for pattern, out := range map[string][]string{
		"*.tmp":           {"a.tmp", "sub/b.tmp", "tmp/b.tmp/x"},
		"*.tmp/":          {"tmp/b.tmp/x"},
		"cache/":          {"cache/x", "sub/cache/x"},
		"cache":           {"cache/x", "sub/cache/x", "file/cache"},
		"data/*.lock":     {"data/x.lock"},
		"*/data/*.lock":   {"sub/data/x.lock"},
		"one/two/":        {"one/two/three"},
		"one/two/three/":  {},
		dir + "/keep":     {"keep"},
		dir + "/sub/one/": {"sub/one/two/three"},
		dir + "/*/cache/": {"sub/cache/x"},
		"/keep":           {},
		"keep/":           {},
		"kee[pq]":         {"keep"},
	} {
		if g, w := got(pattern), without(out...); !slices.Equal(g, w) {
			t.Errorf("%q\ngot  %q\nwant %q", pattern, g, w)
		}
	}
	// A path that is named is not left out, and neither is what hooks leave.
	p := pack(t, archive.Options{Paths: []string{dir + "/cache"}, Dirs: map[string]string{"hooks/db": dir + "/tmp"}, Exclude: []string{"cache", "*.tmp"}})
	equal(t, names(p.list(t), dir), []string{"cache", "cache/x"})
	equal(t, names(p.list(t), "/hooks"), []string{"db", "db/b.tmp", "db/b.tmp/x"})
}

// The destination lies in the source: there already, not yet, and by a link.
func TestPackLeave(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/file", "x")
	write(t, dir+"/copies/data", "x")
	write(t, dir+"/sub/copies/data", "x")
	write(t, dir+"/single", "x")
	must(t, os.Symlink(dir+"/copies", dir+"/link"))
	p := pack(t, archive.Options{Paths: []string{dir}, Leave: []string{dir + "/link", dir + "/single", dir + "/not/yet"}})
	equal(t, names(p.list(t), dir), []string{"file", "link", "sub", "sub/copies", "sub/copies/data"})

	t.Chdir(dir)
	large(t, dir+"/a")
	for i := range 100 {
		write(t, filepath.Join(dir, "m", strings.Repeat("x", i+1)), "x")
	}
	var b packed
	made := false
	var err error
	b.stats, err = archive.Pack(t.Context(), writer(func(p []byte) (int, error) {
		if !made {
			made = true
			write(t, dir+"/new/data", "x")
		}
		b.bytes = append(b.bytes, p...)
		return len(p), nil
	}), archive.Options{Paths: []string{"."}, Leave: []string{"new"}, Workers: 1})
	must(t, err)
	if got := names(b.list(t), dir+"/new"); len(got) > 0 {
		t.Errorf("packed its own destination: %q", got)
	}
}

func TestPackRootOfFileSystem(t *testing.T) {
	dump := t.TempDir()
	write(t, dump+"/app.dump", "x")
	entries, err := os.ReadDir("/")
	must(t, err)
	var exclude []string
	for _, e := range entries {
		exclude = append(exclude, "/"+e.Name())
	}
	p := pack(t, archive.Options{Paths: []string{"/"}, AllowEmpty: true, Exclude: exclude, Dirs: map[string]string{"offsite-hooks/db": dump}})
	equal(t, names(p.list(t), ""), []string{"offsite-hooks/db", "offsite-hooks/db/app.dump"})
	_, err = archive.Pack(t.Context(), io.Discard, archive.Options{Paths: []string{"/"}, Exclude: exclude})
	if !errors.Is(err, core.ErrInvalid) {
		t.Errorf("all of it excluded: %v", err)
	}
}
