//go:build linux

package treediff

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var when = time.Unix(1_700_000_000, 123_456_789)

// build makes a small tree with one of everything.
func build(t *testing.T) string {
	root := t.TempDir()
	in := func(name string) string { return filepath.Join(root, name) }
	do(t, os.MkdirAll(in("d/e"), 0o755))
	do(t, os.WriteFile(in("d/file"), []byte(strings.Repeat("x", 300<<10)), 0o640))
	do(t, os.WriteFile(in("d/other"), []byte("other"), 0o600))
	do(t, os.Link(in("d/file"), in("d/hard")))
	do(t, os.Symlink("file", in("d/soft")))
	do(t, syscall.Mkfifo(in("fifo"), 0o600))
	do(t, os.WriteFile(in("sparse"), nil, 0o600))
	do(t, os.Truncate(in("sparse"), 1<<40))
	do(t, unix.Setxattr(in("d/file"), "user.a", []byte("1"), 0))
	for _, name := range []string{"d/file", "d/other", "d/soft", "d/e", "d", "fifo", "sparse"} {
		touch(t, in(name), when)
	}
	return root
}

func touch(t *testing.T, name string, when time.Time) {
	ts := unix.NsecToTimespec(when.UnixNano())
	do(t, unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}

func TestDiff(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, in func(string) string)
		want   string // in one of the lines; "" for no line
	}{
		{"same", func(*testing.T, func(string) string) {}, ""},
		{"missing", func(t *testing.T, in func(string) string) { do(t, os.Remove(in("d/e"))) }, `"d/e": only in the first`},
		{"more", func(t *testing.T, in func(string) string) { do(t, os.Mkdir(in("d/z"), 0o700)) }, `"d/z": only in the second`},
		{"type", func(t *testing.T, in func(string) string) {
			do(t, os.Remove(in("d/soft")))
			do(t, os.WriteFile(in("d/soft"), nil, 0o600))
		}, `"d/soft": type`},
		{"mode", func(t *testing.T, in func(string) string) { do(t, os.Chmod(in("d/e"), 0o750)) }, `"d/e": mode`},
		{"setuid", func(t *testing.T, in func(string) string) { do(t, os.Chmod(in("d/other"), 0o600|os.ModeSetuid)) }, `"d/other": mode`},
		{"nanosecond", func(t *testing.T, in func(string) string) { touch(t, in("d/e"), when.Add(1)) }, `"d/e": time`},
		{"link's time", func(t *testing.T, in func(string) string) { touch(t, in("d/soft"), when.Add(1)) }, `"d/soft": time`},
		{"content", func(t *testing.T, in func(string) string) {
			f, err := os.OpenFile(in("d/file"), os.O_WRONLY, 0)
			do(t, err)
			_, err = f.WriteAt([]byte("y"), 299<<10)
			do(t, err)
			do(t, f.Close())
			touch(t, in("d/file"), when)
		}, `"d/file": content`},
		{"size", func(t *testing.T, in func(string) string) { do(t, os.Truncate(in("d/other"), 4)) }, `"d/other": size`},
		{"target", func(t *testing.T, in func(string) string) {
			do(t, os.Remove(in("d/soft")))
			do(t, os.Symlink("../d/file", in("d/soft")))
		}, `"d/soft": target`},
		{"hard link", func(t *testing.T, in func(string) string) {
			do(t, os.Remove(in("d/hard")))
			do(t, os.WriteFile(in("d/hard"), []byte(strings.Repeat("x", 300<<10)), 0o640))
		}, `"d/hard": hard link`},
		{"attribute's value", func(t *testing.T, in func(string) string) { do(t, unix.Setxattr(in("d/file"), "user.a", nil, 0)) }, `"d/file": attribute "user.a"`},
		{"attribute more", func(t *testing.T, in func(string) string) { do(t, unix.Setxattr(in("d"), "user.b", nil, 0)) }, `"d": attribute "user.b"`},
		{"holes", func(t *testing.T, in func(string) string) {
			f, err := os.OpenFile(in("sparse"), os.O_WRONLY, 0)
			do(t, err)
			_, err = f.WriteAt(make([]byte, 200<<10), 1<<39)
			do(t, err)
			do(t, f.Close())
			touch(t, in("sparse"), when)
		}, `"sparse": takes`},
		{"in a hole", func(t *testing.T, in func(string) string) {
			f, err := os.OpenFile(in("sparse"), os.O_WRONLY, 0)
			do(t, err)
			_, err = f.WriteAt([]byte("x"), 1<<39)
			do(t, err)
			do(t, f.Close())
		}, `"sparse": content`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, b := build(t), build(t)
			test.change(t, func(name string) string { return filepath.Join(b, name) })
			lines, err := Diff(a, b)
			do(t, err)
			all := strings.Join(lines, "\n")
			if test.want == "" && all != "" || !strings.Contains(all, test.want) {
				t.Errorf("got %s\nwant %s", all, test.want)
			}
		})
	}
}
