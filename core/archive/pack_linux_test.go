package archive_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/archive"
	"golang.org/x/sys/unix"
)

// A thing is all that a backup must keep of one file.
type thing struct {
	mode   fs.FileMode
	uid    uint32
	gid    uint32
	size   int64
	mtime  time.Time
	link   string
	sum    string
	rdev   uint64
	xattrs string
	same   string // the first name of the file
}

// things is everything below dir.
func things(t testing.TB, dir string) map[string]thing {
	t.Helper()
	all := map[string]thing{}
	first := map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := path[len(dir)+1:]
		st := info.Sys().(*syscall.Stat_t)
		x := thing{mode: info.Mode(), uid: st.Uid, gid: st.Gid, mtime: info.ModTime(), rdev: st.Rdev, xattrs: attributesOf(path), same: name}
		if st.Nlink > 1 && !info.IsDir() {
			if first[st.Ino] == "" {
				first[st.Ino] = name
			}
			x.same = first[st.Ino]
		}
		switch info.Mode().Type() {
		case fs.ModeSymlink:
			x.link, err = os.Readlink(path)
		case 0:
			var b []byte
			b, err = os.ReadFile(path)
			sum := sha256.Sum256(b)
			x.size, x.sum = info.Size(), hex.EncodeToString(sum[:])
		}
		all[name] = x
		return err
	}))
	return all
}

func attributesOf(path string) string {
	b := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, b)
	if err != nil {
		return ""
	}
	var list []string
	for key := range strings.SplitSeq(string(b[:n]), "\x00") {
		value := make([]byte, 1<<16)
		if n, err := unix.Lgetxattr(path, key, value); key != "" && err == nil {
			list = append(list, fmt.Sprintf("%q=%q", key, value[:n]))
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// sameThings compares what lies below two directories.
func sameThings(t testing.TB, got, want string) {
	t.Helper()
	g, w := things(t, got), things(t, want)
	for name, x := range w {
		if g[name] != x {
			t.Errorf("%q\ngot  %+v\nwant %+v", name, g[name], x)
		}
		delete(g, name)
	}
	for name := range g {
		t.Errorf("%q was not packed", name)
	}
}

// agrees compares the table of contents with what lies below a directory.
func agrees(t testing.TB, p *packed, dir string) {
	t.Helper()
	want := things(t, dir)
	for _, e := range p.list(t) {
		name, ok := strings.CutPrefix("/"+e.Name, dir+"/")
		if !ok {
			continue
		}
		x := want[name]
		delete(want, name)
		link := x.link
		if x.same != name {
			link = strings.TrimPrefix(dir, "/") + "/" + x.same
		}
		got := thing{mode: e.Mode, uid: uint32(e.UID), gid: uint32(e.GID), size: e.Size, mtime: e.ModTime.Local(), link: e.Link, sum: e.SHA256}
		wanted := thing{mode: x.mode, uid: x.uid, gid: x.gid, size: x.size, mtime: x.mtime.Local(), link: link, sum: x.sum}
		if got != wanted {
			t.Errorf("%q\ngot  %+v\nwant %+v", name, got, wanted)
		}
	}
	for name := range want {
		t.Errorf("%q is not in the table of contents", name)
	}
}

// attribute sets an extended attribute; the file systems of the tests have them.
func attribute(t testing.TB, path, key, value string) {
	t.Helper()
	if err := unix.Lsetxattr(path, key, []byte(value), 0); err != nil {
		t.Fatalf("%s on %s: %v", key, path, err)
	}
}

// everything builds a tree with all that a Linux file system can hold.
func everything(t testing.TB, dir string) {
	t.Helper()
	root := os.Geteuid() == 0
	write(t, dir+"/file", "content")
	write(t, dir+"/empty", "")
	write(t, dir+"/not utf-8 \xff\xfe", "a name of any bytes")
	write(t, dir+"/new\nline = and %3D", "a name of any characters")
	write(t, dir+"/"+strings.Repeat("é", 125), "a name of 250 bytes")
	write(t, dir+"/sub/dir/file", strings.Repeat("words ", 300_000))
	must(t, os.MkdirAll(dir+"/nothing/in/here", 0o750))
	must(t, os.Link(dir+"/file", dir+"/sub/same"))
	must(t, os.Link(dir+"/file", dir+"/again"))
	must(t, os.Symlink("sub/dir", dir+"/link"))
	must(t, os.Symlink(strings.Repeat("dangling/", 30)+"\xff", dir+"/dangling"))
	must(t, unix.Mkfifo(dir+"/fifo", 0o640))
	write(t, dir+"/setuid", "x")
	must(t, os.Chmod(dir+"/setuid", 0o755|fs.ModeSetuid|fs.ModeSetgid))
	must(t, os.Mkdir(dir+"/sticky", 0o755))
	must(t, os.Chmod(dir+"/sticky", 0o777|fs.ModeSticky))
	attribute(t, dir+"/file", "user.plain", "value")
	attribute(t, dir+"/file", "user.odd=100%\xff", "\x00\n=")
	attribute(t, dir+"/sub", "user.of a directory", "")
	attribute(t, dir+"/empty", "user.large", strings.Repeat("v", 3000))
	if root {
		must(t, unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		must(t, unix.Mknod(dir+"/disk", unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))))
		attribute(t, dir+"/link", "trusted.of-a-link", "1")
		attribute(t, dir+"/fifo", "trusted.of-a-fifo", "2")
		// user::rw-, user:1234:rwx, group::r--, mask::rwx, other::r--
		attribute(t, dir+"/again", "system.posix_acl_access", "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x07\x00\xd2\x04\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff")
		must(t, os.Lchown(dir+"/dangling", 12, 34))
		must(t, os.Chown(dir+"/empty", 3_000_000_000, 2_097_152))
	}
	holes(t, dir+"/holes")
	times(t, dir)
}

// holes makes files that are sparse in every way.
func holes(t testing.TB, dir string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	for name, at := range map[string][]int64{
		"all": {}, "begin": {1 << 20}, "middle": {0, 5 << 20}, "many": {8192, 40000, 100_001, 3 << 20, 9 << 20},
	} {
		f, err := os.Create(dir + "/" + name)
		must(t, err)
		for _, off := range at {
			_, err := f.WriteAt([]byte("data in "+name), off)
			must(t, err)
		}
		if name != "begin" {
			must(t, f.Truncate(10<<20+77))
		}
		must(t, f.Close())
	}
}

// times gives everything a time with nanoseconds, some far away.
func times(t testing.TB, dir string) {
	t.Helper()
	n := int64(0)
	for name := range things(t, dir) {
		n++
		sec := []int64{1_700_000_000, -12, 1 << 34, 1, 0}[n%5]
		ts := []unix.Timespec{{Sec: 1, Nsec: 1}, {Sec: sec, Nsec: n * 123_456_789 % 1e9}}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, dir+"/"+name, ts, unix.AT_SYMLINK_NOFOLLOW))
	}
}

func TestPackKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	everything(t, dir)
	p := pack(t, archive.Options{Paths: []string{dir}})
	if len(p.odd) > 0 {
		t.Errorf("odd: %v", p.odd)
	}
	agrees(t, p, dir)
	out := p.unpack(t)
	sameThings(t, out+dir, dir)
	for name := range things(t, dir+"/holes") {
		var a, b unix.Stat_t
		must(t, unix.Stat(dir+"/holes/"+name, &a))
		must(t, unix.Stat(out+dir+"/holes/"+name, &b))
		if b.Blocks > a.Blocks {
			t.Errorf("holes/%s: takes %d blocks, took %d", name, b.Blocks, a.Blocks)
		}
	}
}

func TestPackLeavesTimesOfAccess(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/file", "x")
	times(t, dir)
	pack(t, archive.Options{Paths: []string{dir}})
	var st unix.Stat_t
	must(t, unix.Stat(dir+"/file", &st))
	if st.Atim != (unix.Timespec{Sec: 1, Nsec: 1}) {
		t.Errorf("time of access is %v", st.Atim)
	}
}

func TestPackLongPaths(t *testing.T) {
	dir := t.TempDir()
	var fd int
	fd, err := unix.Open(dir, unix.O_DIRECTORY, 0)
	must(t, err)
	part, name := strings.Repeat("d", 200), ""
	for range 30 {
		must(t, unix.Mkdirat(fd, part, 0o755))
		next, err := unix.Openat(fd, part, unix.O_DIRECTORY, 0)
		must(t, err)
		must(t, unix.Close(fd))
		fd, name = next, name+part+"/"
	}
	file, err := unix.Openat(fd, "file", unix.O_CREAT|unix.O_WRONLY, 0o644)
	must(t, err)
	_, err = unix.Write(file, []byte("deep"))
	must(t, err)
	must(t, unix.Close(file))
	must(t, unix.Close(fd))

	p := pack(t, archive.Options{Paths: []string{dir}})
	e, err := p.open(t).Find(t.Context(), dir+"/"+name+"file")
	must(t, err)
	if e.Size != 4 || len(p.odd) > 0 {
		t.Errorf("found %v, odd %v", e, p.odd)
	}
	tool(t, "tar", "zstd")
	if list := p.run(t, "/", "zstd -dc | tar -t"); !strings.Contains(list, name+"file\n") {
		t.Errorf("tar lists %q", list)
	}
}

func TestPackSocket(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", dir+"/socket")
	must(t, err)
	defer l.Close()
	refused(t, archive.Options{Paths: []string{dir}}, core.ErrInvalid, dir)
	write(t, dir+"/file", "x")
	p := pack(t, archive.Options{Paths: []string{dir}})
	if len(p.odd) != 1 || p.odd[0].What != "socket" || p.odd[0].Lost || p.odd[0].Path != dir+"/socket" || p.stats.Odd != 1 || p.stats.Lost != 0 {
		t.Errorf("odd %v, %+v", p.odd, p.stats)
	}
}
