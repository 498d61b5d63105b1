package archive_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/offsite-backup/offsite/core/archive"
)

func TestFS(t *testing.T) {
	dir, dump := t.TempDir(), t.TempDir()
	for i := range 40 {
		write(t, fmt.Sprintf("%s/%d/%d/file %d", dir, i%3, i%5, i), fmt.Sprint("content ", i))
	}
	must(t, os.MkdirAll(dir+"/empty/in/there", 0o755))
	must(t, os.Link(dir+"/0/0/file 0", dir+"/same"))
	must(t, os.Symlink("0/0/file 0", dir+"/link"))
	write(t, dump+"/app.dump", "x")
	p := pack(t, archive.Options{Paths: []string{dir}, Dirs: map[string]string{"hooks/db": dump}})
	fsys := p.open(t).FS(t.Context())
	must(t, fstest.TestFS(fsys, dir[1:]+"/0/0/file 30", dir[1:]+"/empty/in/there", "hooks/db/app.dump"))
	b, err := fs.ReadFile(fsys, dir[1:]+"/same")
	if err != nil || string(b) != "content 0" {
		t.Errorf("a hard link has %q, %v", b, err)
	}
	link, err := fs.ReadLink(fsys, dir[1:]+"/link")
	if err != nil || link != "0/0/file 0" {
		t.Errorf("a link to %q, %v", link, err)
	}
	for name, want := range map[string]error{
		"nothing": fs.ErrNotExist, dir: fs.ErrInvalid, dir[1:] + "/same/x": fs.ErrNotExist, "..": fs.ErrInvalid, "": fs.ErrInvalid,
	} {
		if _, err := fsys.Open(name); !errors.Is(err, want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := fs.ReadFile(fsys, dir[1:]+"/link"); err == nil {
		t.Error("a link was read")
	}
	if _, err := fs.ReadDir(fsys, dir[1:]+"/same"); err == nil {
		t.Error("a file has something in it")
	}
	empty := pack(t, archive.Options{Paths: []string{dir}, Leave: []string{dir}, AllowEmpty: true})
	must(t, fstest.TestFS(empty.open(t).FS(t.Context())))
}

// A directory is read by the tables that have something right in it.
func TestFSLeaps(t *testing.T) {
	dir := shm(t)
	someTree(t, dir, 5000)
	p := pack(t, archive.Options{Paths: []string{dir}})
	fsys := p.open(t).FS(t.Context())
	p.asked.Store(0)
	list, err := fs.ReadDir(fsys, strings.Split(dir, "/")[1])
	if err != nil || len(list) != 1 || p.asked.Load() > 2 {
		t.Errorf("%v, %v: %d tables", list, err, p.asked.Load())
	}
	list, err = fs.ReadDir(fsys, dir[1:]+"/3")
	if err != nil || len(list) != 15 || p.asked.Load() > 4 {
		t.Errorf("%v, %v: %d tables", list, err, p.asked.Load())
	}
}

func TestFSAnyName(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/\xff/file \xfe", "x")
	p := pack(t, archive.Options{Paths: []string{dir}})
	b, err := fs.ReadFile(p.open(t).FS(t.Context()), dir[1:]+"/\xff/file \xfe")
	if err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
}
