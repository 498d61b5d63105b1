package archive

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/internal/treediff"
)

// asNobody says that this process is a child that has no rights.
const asNobody = "OFFSITE_TEST_AS_NOBODY"

// Everything else of extraction, as somebody who is not root.
func TestExtractWithoutRights(t *testing.T) {
	if os.Getuid() != 0 {
		return // then all the others run without rights already
	}
	dir, err := os.MkdirTemp("", "offsite-extract-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chown(dir, 65534, 65534))
	// The binary itself, because the way to it may be closed to others.
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^(Test|Fuzz)Extract", "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), asNobody+"=1", "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestExtractFidelity")) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestExtractFidelity(t *testing.T) {
	if os.Getuid() == 0 && os.Getenv(asNobody) != "" {
		t.Fatal("the child has rights")
	}
	tree := t.TempDir()
	buildTree(t, tree)
	stream := gnuTar(t, tree)
	p := newPlace(t)
	stats, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{SetID: true, Owners: true})
	must(t, err)
	reopen(t, p.target)
	if len(odd) > 0 {
		t.Error(odd)
	}
	lines, err := treediff.Diff(tree, p.target)
	must(t, err)
	for _, line := range lines {
		t.Error(line)
	}
	if stats.Entries < 350 {
		t.Errorf("%+v", stats)
	}
	p.untouched(t)
}

// A directory that its owner cannot enter is closed after what is in it.
func TestExtractClosedDirectory(t *testing.T) {
	stream := new(rawTar).blockOf("a", tar.TypeDir, "", 0, 0, 0).blockOf("a/b", tar.TypeDir, "", 0, 0, 0).
		blockOf("a/b/c", tar.TypeDir, "", 0, 0o500, 0).file("a/b/c/f", "x").blockOf("z", tar.TypeDir, "", 0, 0o500, 0).end()
	p := newPlace(t)
	_, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{})
	must(t, err)
	if len(odd) > 0 {
		t.Error(odd)
	}
	for _, d := range []struct {
		name string
		mode os.FileMode
	}{{"a", 0}, {"a/b", 0}, {"a/b/c", 0o500}, {"z", 0o500}} {
		info, err := os.Lstat(p.path(d.name))
		must(t, err)
		if info.Mode() != os.ModeDir|d.mode || info.ModTime().Unix() != 1_700_000_000 {
			t.Errorf("%s has %v %v", d.name, info.Mode(), info.ModTime())
		}
		must(t, os.Chmod(p.path(d.name), 0o700))
	}
}

// A file of 1 TiB with 1 MiB in it: whoever writes the holes does not come back.
func TestExtractVerySparse(t *testing.T) {
	data := noise(1 << 20)
	r := new(rawTar).sparseFile("s", fmt.Sprint(1<<40), fmt.Sprintf("2\n%d\n%d\n%d\n0\n", 1<<39, len(data), 1<<40), data)
	p := newPlace(t)
	stats, _, err := p.extract(t, bytes.NewReader(r.end()), ExtractOptions{})
	must(t, err)
	var st unix.Stat_t
	must(t, unix.Stat(p.path("s"), &st))
	if st.Size != 1<<40 || st.Blocks*512 > 2<<20 || stats.ContentSize != 1<<40 {
		t.Errorf("size %d, %d bytes on disk, %+v", st.Size, st.Blocks*512, stats)
	}
	f, err := os.Open(p.path("s"))
	must(t, err)
	defer f.Close()
	got := make([]byte, len(data)+2)
	_, err = f.ReadAt(got, 1<<39-1)
	must(t, err)
	if !bytes.Equal(got, append(append([]byte{0}, data...), 0)) {
		t.Error("other content")
	}
}

func TestExtractSetID(t *testing.T) {
	stream := new(rawTar).blockOf("u", tar.TypeReg, "", 0, 0o4755, 0).blockOf("d", tar.TypeDir, "", 0, 0o2775, 0).
		add("cap", tar.TypeReg, "", nil, map[string]string{"SCHILY.xattr." + capability: netRaw}).blockOf("t", tar.TypeDir, "", 0, 0o1777, 0).end()
	for _, keep := range []bool{false, true} {
		p := newPlace(t)
		stats, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{SetID: keep})
		must(t, err)
		refused := 0
		if keep && os.Getuid() != 0 {
			refused = 1 // the capability
		}
		if !keep && stats.Odd != 3 || keep && len(odd) != refused || stats.Lost != 0 {
			t.Error(keep, odd)
		}
		mode(t, p.path("u"), 0o755, os.ModeSetuid, keep)
		mode(t, p.path("d"), 0o775|os.ModeDir, os.ModeSetgid, keep)
		mode(t, p.path("t"), 0o777|os.ModeDir, os.ModeSticky, true)
		_, err = unix.Lgetxattr(p.path("cap"), capability, nil)
		if has := err == nil; has != (keep && os.Getuid() == 0) {
			t.Errorf("capability: %v", err)
		}
	}
}

func mode(t *testing.T, name string, want, bit os.FileMode, kept bool) {
	t.Helper()
	if kept {
		want |= bit
	}
	if info, err := os.Lstat(name); err != nil || info.Mode() != want {
		t.Errorf("%s has %v, want %v: %v", name, info.Mode(), want, err)
	}
}

func TestExtractOwners(t *testing.T) {
	owned := func(uid, gid string) map[string]string { return map[string]string{"uid": uid, "gid": gid} }
	stream := new(rawTar).add("f", tar.TypeReg, "", []byte("x"), owned("1234", "5678")).add("d", tar.TypeDir, "", nil, owned("1234", "5678")).
		add("l", tar.TypeSymlink, "f", nil, owned("1234", "5678")).add("p", tar.TypeFifo, "", nil, owned("1234", "5678")).end()
	for _, owners := range []bool{true, false} {
		p := newPlace(t)
		stats, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{Owners: owners})
		must(t, err)
		uid, gid, refused := uint32(os.Getuid()), uint32(os.Getgid()), 0
		if owners && uid == 0 {
			uid, gid = 1234, 5678
		} else if owners {
			refused = 4
		}
		if len(odd) != refused || stats.Lost != 0 {
			t.Error(odd)
		}
		for _, name := range []string{"f", "d", "l", "p"} {
			var st unix.Stat_t
			must(t, unix.Lstat(p.path(name), &st))
			if st.Uid != uid || st.Gid != gid {
				t.Errorf("%s belongs to %d:%d, want %d:%d", name, st.Uid, st.Gid, uid, gid)
			}
		}
	}
}

// Nobody gets a setuid file of an owner that it was not meant for.
func TestExtractOwnerOutOfRange(t *testing.T) {
	for _, uid := range []string{"-1", "4294967295", "9999999999999"} {
		r := new(rawTar)
		records := rawRecord("uid", uid)
		r.block("pax", 'x', "", int64(len(records))).body([]byte(records)).blockOf("f", tar.TypeReg, "", 0, 0o4755, 0)
		p := newPlace(t)
		stats, odd, err := p.extract(t, bytes.NewReader(r.end()), ExtractOptions{Owners: true, SetID: true})
		must(t, err)
		if len(odd) != 2 || stats.Lost != 0 {
			t.Error(uid, odd)
		}
		mode(t, p.path("f"), 0o755, 0, false)
	}
}

func TestExtractDevices(t *testing.T) {
	stream := new(rawTar).blockOf("c", tar.TypeChar, "", 0, 0o666, 1).blockOf("b", tar.TypeBlock, "", 0, 0o600, 7).end()
	t.Run("not asked for", func(t *testing.T) {
		p := newPlace(t)
		stats, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{})
		must(t, err)
		if len(odd) != 2 || stats.Lost != 0 || stats.Entries != 0 {
			t.Error(odd)
		}
		p.holds(t)
	})
	t.Run("asked for", func(t *testing.T) {
		p := newPlace(t)
		stats, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{Devices: true})
		must(t, err)
		if os.Getuid() != 0 {
			if stats.Lost != 2 || len(odd) != 2 {
				t.Error(odd)
			}
			return
		}
		var c, b unix.Stat_t
		must(t, unix.Lstat(p.path("c"), &c))
		must(t, unix.Lstat(p.path("b"), &b))
		if c.Mode != unix.S_IFCHR|0o666 || c.Rdev != unix.Mkdev(1, 3) || b.Mode != unix.S_IFBLK|0o600 || b.Rdev != unix.Mkdev(7, 3) {
			t.Errorf("%o %#x, %o %#x", c.Mode, c.Rdev, b.Mode, b.Rdev)
		}
	})
}

func TestExtractAttributes(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	stream := new(rawTar).add("f", tar.TypeReg, "", nil, map[string]string{
		"SCHILY.xattr.user.a":                           "schily",
		"LIBARCHIVE.xattr.user.a":                       b64([]byte("libarchive")),
		"LIBARCHIVE.xattr.user.b%3D%25%FF":              strings.TrimRight(b64([]byte("xy")), "="),
		"LIBARCHIVE.xattr.user.bad":                     "!",
		"LIBARCHIVE.xattr.user.bad%zz":                  "",
		"SCHILY.xattr.nonsense.a":                       "refused everywhere",
		"SCHILY.xattr.user.c%3Dd%25e":                   "gnu",
		"SCHILY.xattr.user." + strings.Repeat("x", 300): "a name that is too long",
	}).add("s", tar.TypeSymlink, "f", nil, map[string]string{"SCHILY.xattr.user.a": "not on links"}).end()
	p := newPlace(t)
	stats, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{})
	must(t, err)
	if len(odd) != 5 || stats.Lost != 0 || stats.Entries != 2 {
		t.Errorf("%d: %q", len(odd), odd)
	}
	for name, want := range map[string]string{"user.a": "libarchive", "user.b=%\xff": "xy", "user.c=d%e": "gnu"} {
		got := make([]byte, 100)
		n, err := unix.Lgetxattr(p.path("f"), name, got)
		if err != nil || string(got[:n]) != want {
			t.Errorf("%q is %q, want %q: %v", name, got[:max(n, 0)], want, err)
		}
	}
}

// A file system that is full is the end; the names below are as the system has them.
func TestExtractFull(t *testing.T) {
	x := &extraction{ctx: t.Context()}
	for _, full := range []error{unix.ENOSPC, &os.PathError{Op: "write", Path: "x", Err: unix.EDQUOT}} {
		err := x.lost("f", "content not written", full)
		wantErr(t, err, core.ErrNoSpace, `restoring "f"`)
		if x.tolerate("f", err) == nil {
			t.Error("goes on")
		}
	}
}

func TestExtractNameOfFolder(t *testing.T) {
	p := newPlace(t)
	must(t, os.WriteFile(p.path("Name"), nil, 0o600))
	root, err := os.OpenRoot(p.target)
	must(t, err)
	defer root.Close()
	dir, err := openExtractDir(root)
	must(t, err)
	defer dir.close()
	for name, want := range map[string]bool{"Name": true, "name": false} {
		if has, err := dir.has(name); err != nil || has != want {
			t.Error(name, has, err)
		}
	}
}

// No descriptor and no goroutine is left, whatever way it ends.
func TestExtractLeavesNothing(t *testing.T) {
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	whole := sample().end()
	files, routines := open(), runtime.NumGoroutine()
	for n := 0; n <= len(whole); n += 100 * 512 {
		p := newPlace(t)
		p.extract(t, bytes.NewReader(whole[:n]), ExtractOptions{})
	}
	p := newPlace(t)
	p.extract(t, bytes.NewReader(new(rawTar).soft("a", "b").file("c", "x").hard("d", "c").file("a/b", "x").end()), ExtractOptions{})
	if now := open(); now != files {
		t.Errorf("%d files open, %d before", now, files)
	}
	settled(t, routines)
}
