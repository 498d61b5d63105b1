//go:build linux

package archive_test

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/core/archive"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// Whatever tree is packed: other tools unpack the same, and the table of contents
// and the content that is read by it are the same.
func TestPackAnyTree(t *testing.T) {
	base := t.TempDir()
	fewer(t, "20")
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(base, "")
		must(t, err)
		defer os.RemoveAll(dir)
		plant(t, rt, dir+"/tree")
		p := pack(t, archive.Options{Paths: []string{dir + "/tree"}, AllowEmpty: true, Workers: rapid.IntRange(1, 3).Draw(rt, "workers")})
		if len(p.odd) > 0 {
			rt.Fatalf("odd: %v", p.odd)
		}
		agrees(t, p, dir+"/tree")
		must(t, os.Mkdir(dir+"/out", 0o755))
		tool(t, "zstd", "tar")
		p.run(t, dir+"/out", untar)
		sameThings(t, dir+"/out"+dir+"/tree", dir+"/tree")
		r := p.open(t)
		for _, e := range p.list(t) {
			if e.Mode.IsRegular() {
				content(t, r, e)
			}
		}
		if t.Failed() {
			rt.FailNow()
		}
	})
}

// fewer has a property checked on fewer examples than usual: each of these takes
// two programs.
func fewer(t *testing.T, checks string) {
	f := flag.Lookup("rapid.checks")
	usual := f.Value.String()
	if usual != f.DefValue {
		return // somebody asked for more
	}
	must(t, f.Value.Set(checks))
	t.Cleanup(func() { must(t, f.Value.Set(usual)) })
}

// plant draws a tree.
func plant(t *testing.T, rt *rapid.T, dir string) {
	must(t, os.Mkdir(dir, 0o755))
	dirs, files := []string{dir}, []string{}
	for range rapid.IntRange(0, 25).Draw(rt, "things") {
		part := string(rapid.SliceOfN(rapid.OneOf(rapid.ByteRange(1, 255), rapid.ByteRange('a', 'c')), 1, 30).Draw(rt, "name"))
		path := filepath.Join(rapid.SampledFrom(dirs).Draw(rt, "in"), strings.ReplaceAll(part, "/", "-"))
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		switch kind := rapid.IntRange(0, 9).Draw(rt, "kind"); {
		case kind < 2:
			must(t, os.Mkdir(path, 0o755))
			dirs = append(dirs, path)
		case kind == 2:
			must(t, os.Symlink(part, path))
		case kind == 3:
			must(t, unix.Mkfifo(path, 0o600))
		case kind == 4 && len(files) > 0:
			must(t, os.Link(rapid.SampledFrom(files).Draw(rt, "to"), path))
		default:
			fill(t, rt, path)
			files = append(files, path)
		}
	}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type() != fs.ModeSymlink {
			mode := fs.FileMode(rapid.IntRange(0o700, 0o777).Draw(rt, "mode"))
			err = os.Chmod(path, mode|rapid.SampledFrom([]fs.FileMode{0, 0, fs.ModeSetgid, fs.ModeSticky}).Draw(rt, "bits"))
		}
		return err
	}))
	times(t, filepath.Dir(dir))
}

// fill draws a file: small, large, and with holes.
func fill(t *testing.T, rt *rapid.T, path string) {
	f, err := os.Create(path)
	must(t, err)
	size := rapid.OneOf(rapid.Int64Range(0, 2000), rapid.SampledFrom([]int64{511, 512, 513, 128 << 10, 128<<10 + 1, 1 << 20, 3<<20 + 7})).Draw(rt, "size")
	if rapid.Bool().Draw(rt, "holes") {
		for range rapid.IntRange(0, 3).Draw(rt, "pieces") {
			_, e := f.WriteAt([]byte("data"), rapid.Int64Range(0, size).Draw(rt, "at"))
			err = errors.Join(err, e)
		}
		err = errors.Join(err, f.Truncate(size))
	} else {
		_, err = f.WriteString(strings.Repeat(rapid.SampledFrom([]string{"a", "\x00", "text ", "\xff"}).Draw(rt, "content"), int(size)))
	}
	must(t, errors.Join(err, f.Close()))
	if rapid.IntRange(0, 3).Draw(rt, "attribute") == 0 {
		attribute(t, path, "user.a=%", "value\x00")
	}
}
