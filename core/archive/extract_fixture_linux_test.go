package archive

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// gnuTar is the tree as GNU tar writes it.
func gnuTar(t *testing.T, tree string) []byte {
	cmd := exec.CommandContext(t.Context(), "tar", "--format=posix", "--xattrs", "--xattrs-include=*", "-S", "-C", tree, "-cf", "-", ".")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	stream, err := cmd.Output()
	if err != nil || problems.Len() > 0 {
		t.Fatalf("tar: %v: %s", err, &problems)
	}
	return stream
}

// buildTree makes what a tree can have, as far as the rights go.
func buildTree(t *testing.T, tree string) {
	root, err := os.OpenRoot(tree)
	must(t, err)
	defer root.Close()
	in := func(name string) string { return filepath.Join(tree, name) }
	write := func(name string, size int, perm os.FileMode) {
		must(t, root.WriteFile(name, noise(size), 0o600))
		must(t, root.Chmod(name, perm))
	}
	for _, d := range []string{"modes", "empty", "links/a", "links/b", "sparse", "attrs/d", "times/d", "many", "closed/in/side", "sticky"} {
		must(t, root.MkdirAll(d, 0o755))
	}
	for i, perm := range []os.FileMode{0o400, 0o444, 0o644, 0o751, 0o777, 0o755 | os.ModeSetuid, 0o755 | os.ModeSetgid, 0o700 | os.ModeSticky} {
		write(fmt.Sprintf("modes/%d", i), i, perm)
	}
	for i := range 300 {
		write(fmt.Sprintf("many/%d", i), i*7, 0o644)
	}
	for _, size := range []int{extractSmall - 1, extractSmall, extractSmall + 1, 5 << 20} {
		write(fmt.Sprintf("size%d", size), size, 0o600)
	}
	write(strings.Repeat("n", 250), 1, 0o600)
	write("not \xff\xfe utf-8\n", 1, 0o600)
	write(" \\ leading space", 1, 0o600)
	deep := strings.Repeat(strings.Repeat("d", 199)+"/", 20)[:3990]
	must(t, root.MkdirAll(deep, 0o755))
	write(deep+"/deep", 10, 0o600)
	must(t, syscall.Mkfifo(in("fifo"), 0o640))

	write("links/a/one", 10, 0o640)
	must(t, root.Link("links/a/one", "links/b/two"))
	must(t, root.Link("links/a/one", "links/three"))
	for name, to := range map[string]string{"inside": "one", "dangling": "nowhere", "outside": "../../../../etc", "absolute": "/etc/passwd", "long": strings.Repeat("long/", 300), "bytes": "\xff\xfe"} {
		must(t, root.Symlink(to, "links/a/"+name))
	}
	must(t, unix.Linkat(unix.AT_FDCWD, in("links/a/dangling"), unix.AT_FDCWD, in("links/b/same link"), 0))

	buildSparse(t, in)
	buildAttrs(t, in)
	must(t, root.Chmod("sticky", 0o777|os.ModeSticky))
	must(t, root.Chmod("modes", 0o700|os.ModeSetgid))
	must(t, filepath.WalkDir(tree, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == tree || len(path) > 3000 {
			return err
		}
		return setTime(path, time.Unix(int64(1_600_000_000+len(path)*12345), int64(len(path)*1_234_567)))
	}))
	must(t, setTime(in("times/d"), time.Date(1965, 3, 4, 5, 6, 7, 890_123_456, time.UTC)))
	must(t, setTime(in("times"), time.Date(2200, 3, 4, 5, 6, 7, 1, time.UTC)))
	must(t, root.Chmod("closed/in", 0o555))
	must(t, root.Chmod("closed", 0o500))
	reopen(t, tree)
}

// reopen makes the tree's closed directories such that they can be removed.
func reopen(t *testing.T, tree string) {
	t.Cleanup(func() {
		for _, name := range []string{"closed", "closed/in", "attrs/d"} {
			must(t, os.Chmod(filepath.Join(tree, name), 0o700))
		}
	})
}

func buildSparse(t *testing.T, in func(string) string) {
	for name, at := range map[string][]int64{"hole": nil, "start": {0}, "middle": {1 << 29}, "end": {1<<30 - 4096}, "many": {0, 1 << 20, 3 << 20, 100 << 20}} {
		f, err := os.Create(in("sparse/" + name))
		must(t, err)
		must(t, f.Truncate(1<<30))
		for _, off := range at {
			_, err = f.WriteAt(noise(4096), off)
			must(t, err)
		}
		must(t, f.Close())
	}
	f, err := os.Create(in("sparse/odd end"))
	must(t, err)
	_, err = f.WriteAt([]byte("x"), 1<<20)
	must(t, err)
	must(t, f.Close())
}

func buildAttrs(t *testing.T, in func(string) string) {
	set := func(name, attr, value string) {
		must(t, unix.Lsetxattr(in(name), attr, []byte(value), 0))
	}
	must(t, os.WriteFile(in("attrs/f"), []byte("attrs"), 0o600))
	set("attrs/f", "user.plain", "value")
	set("attrs/f", "user.empty", "")
	set("attrs/f", "user.with=equals%and %3D", "x=y")
	set("attrs/f", "user.bytes", "\x00\n\xff=\n12 path=../x\n")
	set("attrs/f", "user.\xff", "not utf-8")
	set("attrs/d", "user.directory", "value")
	must(t, os.WriteFile(in("attrs/readonly"), nil, 0o600))
	set("attrs/readonly", "user.plain", "value")
	must(t, os.Chmod(in("attrs/readonly"), 0o400))
	must(t, os.Chmod(in("attrs/d"), 0o555))
	must(t, os.WriteFile(in("attrs/acl"), nil, 0o600))
	set("attrs/acl", "system.posix_acl_access", acl)
	must(t, os.Mkdir(in("attrs/default"), 0o755))
	must(t, os.WriteFile(in("attrs/default/before"), nil, 0o640))
	set("attrs/default", "system.posix_acl_default", acl)
	if os.Getuid() != 0 {
		return
	}
	set("attrs/f", "trusted.offsite", "value")
	must(t, os.Symlink("f", in("attrs/l")))
	set("attrs/l", "trusted.offsite", "on a link")
	must(t, os.WriteFile(in("attrs/cap"), nil, 0o700))
	set("attrs/cap", capability, netRaw)
	must(t, os.Chown(in("attrs/l"), 1234, 5678))
	must(t, os.Chown(in("attrs/cap"), 1234, 5678))
	set("attrs/cap", capability, netRaw)
	must(t, os.Chown(in("attrs"), 1234, 5678))
}

const capability = "security.capability"

// acl is user::rw-, user:1234:r--, group::---, mask::r--, other::--- (acl(5),
// linux/posix_acl_xattr.h).
const acl = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xd2\x04\x00\x00" +
	"\x04\x00\x00\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"

// netRaw is cap_net_raw+ep (linux/capability.h, vfs_cap_data).
const netRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func setTime(path string, when time.Time) error {
	ts, err := unix.TimeToTimespec(when)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}
