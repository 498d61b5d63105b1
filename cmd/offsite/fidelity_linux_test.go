package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestGoTree backs the Go distribution's own sources up to two directories at
// once and restores them from each, and by standard tools.
func TestGoTree(t *testing.T) {
	h := newHost(t)
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(strings.TrimSpace(string(goroot)), "src")
	h.run(0, "backup", src, "--to", "one", "--to", "two")
	for _, place := range []string{"one", "two"} {
		dest := "restored-" + place
		h.run(0, "restore", "latest", dest, "--from", place, "--below", src)
		h.same(src, h.at(dest))
	}
	h.untar("one")
	h.same(src, h.at("untarred", src))
}

// untar restores the only archive of a place without offsite.
func (h *host) untar(place string) {
	h.Helper()
	if err := os.Mkdir(h.at("untarred"), 0o700); err != nil {
		h.Fatal(err)
	}
	archive := filepath.Join(h.at(place, "data"), files(h.at(place, "data"))[0])
	if out, err := exec.Command("zstd", "-t", archive).CombinedOutput(); err != nil {
		h.Fatalf("zstd -t: %v\n%s", err, out)
	}
	script := `zstd -dc "$1" | tar -x --xattrs --xattrs-include='*' -p -C "$2"`
	out, err := exec.Command("bash", "-o", "pipefail", "-c", script, "untar", archive, h.at("untarred")).CombinedOutput()
	if err != nil || len(out) > 0 {
		h.Errorf("zstd -d | tar x: %v\n%s", err, out)
	}
}

// TestOddTree backs up a tree of everything that a file system has, on the disk
// and in memory, and compares content and metadata.
func TestOddTree(t *testing.T) {
	for _, dir := range []string{"", "/dev/shm"} {
		t.Run("in "+dir, func(t *testing.T) {
			tmp, err := os.MkdirTemp(dir, "offsite-test-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(tmp) })
			h := &host{T: t, dir: tmp}
			h.oddTree(h.at("source"))
			h.run(0, "backup", "source", "--to", "one", "--to", "two")
			for _, place := range []string{"one", "two"} {
				h.run(0, "restore", "latest", "restored-"+place, "--from", place, "--below", h.at("source"), "--setid")
				h.same(h.at("source"), h.at("restored-"+place))
			}
			h.untar("one")
			h.same(h.at("source"), h.at("untarred", h.at("source")))
		})
	}
}

// oddTree makes hard links, symbolic links, sparse files, extended attributes,
// sub-second times, modes, empty folders, pipes, and names of all kinds.
func (h *host) oddTree(dir string) {
	h.Helper()
	must := func(err error) {
		h.Helper()
		if err != nil {
			h.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	h.write(in("file"), []byte("content"))
	h.write(in("empty"), nil)
	h.write(in("large"), noise(3, 5<<20))
	must(os.MkdirAll(in("folder/empty"), 0o750))
	must(os.Link(in("file"), in("folder/linked")))
	must(os.Link(in("large"), in("zz-linked")))
	must(os.Symlink("../file", in("folder/relative")))
	must(os.Symlink("/nowhere/at/all", in("dangling")))
	must(os.Symlink(strings.Repeat("long/", 60), in("long-link")))
	must(unix.Mkfifo(in("pipe"), 0o640))
	h.write(in("name with spaces, \n and 'quotes'"), []byte("x"))
	h.write(in("not-utf8-\xff\xfe"), []byte("x"))
	h.write(in("ünïcödé-日本-🙂"), []byte("x"))
	h.write(in(strings.Repeat("n", 250)), []byte("x"))
	h.write(in("mode"), []byte("x"))
	must(os.Chmod(in("mode"), 0o4751))
	must(os.Chmod(in("empty"), 0o000))
	must(os.Chmod(in("folder/empty"), os.ModeSticky|0o711))
	for _, size := range []int64{1, 3 << 20, 1 << 30} {
		h.sparse(in(fmt.Sprintf("sparse-%d", size)), size)
	}
	for name, value := range map[string]string{"user.plain": "value", "user.binary": "\x00\x01\n=\xff", "user.empty": "", "user.odd=name": "v"} {
		must(unix.Lsetxattr(in("file"), name, []byte(value), 0))
		must(unix.Lsetxattr(in("folder"), name, []byte(value), 0))
	}
	h.deep(in("deep"))
	at := time.Date(2001, 2, 3, 4, 5, 6, 123456789, time.UTC)
	for _, name := range []string{"file", "large", "folder/relative", "pipe", "folder/empty", "folder"} {
		ts := []unix.Timespec{unix.NsecToTimespec(at.UnixNano()), unix.NsecToTimespec(at.UnixNano())}
		must(unix.UtimesNanoAt(unix.AT_FDCWD, in(name), ts, unix.AT_SYMLINK_NOFOLLOW))
		at = at.Add(-1000*24*time.Hour + time.Nanosecond)
	}
}

// sparse makes a file with data at its start, its middle and its end, and holes
// between.
func (h *host) sparse(path string, size int64) {
	h.Helper()
	f, err := os.Create(path)
	if err == nil {
		err = f.Truncate(size)
	}
	for _, at := range []int64{0, size / 2, size - 1} {
		if err == nil {
			_, err = f.WriteAt([]byte("d"), at)
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		h.Fatal(err)
	}
}

// deep makes a path of more than 4,000 bytes, folder by folder: no system call
// takes it whole.
func (h *host) deep(dir string) {
	h.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		h.Fatal(err)
	}
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_RDONLY, 0)
	for range 20 {
		name := strings.Repeat("d", 200)
		if err == nil {
			err = unix.Mkdirat(fd, name, 0o700)
		}
		next := -1
		if err == nil {
			next, err = unix.Openat(fd, name, unix.O_DIRECTORY|unix.O_RDONLY, 0)
		}
		if err != nil {
			h.Fatal(err)
		}
		unix.Close(fd)
		fd = next
	}
	file, err := unix.Openat(fd, "bottom", unix.O_CREAT|unix.O_WRONLY, 0o600)
	if err == nil {
		_, err = unix.Write(file, []byte("deep"))
		unix.Close(file)
	}
	unix.Close(fd)
	if err != nil {
		h.Fatal(err)
	}
}
