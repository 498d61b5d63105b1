package treediff

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// links has the first name of each file in the two trees.
type links [2]map[inode]string

// An inode names a file in its system.
type inode struct{ dev, ino uint64 }

// first returns the first name under which a file of one of the trees was met.
func (l *links) first(tree int, st *syscall.Stat_t, name string) string {
	if l[tree] == nil {
		l[tree] = map[inode]string{}
	}
	n := inode{uint64(st.Dev), st.Ino}
	if was, ok := l[tree][n]; ok {
		return was
	}
	l[tree][n] = name
	return name
}

// system compares what stat(2) says besides: hard links, space, device numbers.
func (d *diff) system(name string, a, b fs.FileInfo) {
	left, right := a.Sys().(*syscall.Stat_t), b.Sys().(*syscall.Stat_t)
	if left.Rdev != right.Rdev {
		d.addf(name, "device %#x and %#x", left.Rdev, right.Rdev)
	}
	if a.IsDir() {
		return
	}
	one, other := d.links.first(0, left, name), d.links.first(1, right, name)
	if one != other {
		d.addf(name, "hard link to %q and %q", one, other)
	}
	if a.Mode().IsRegular() && !roughly(left.Blocks*512, right.Blocks*512) {
		d.addf(name, "takes %d and %d bytes", left.Blocks*512, right.Blocks*512)
	}
}

// roughly allows for what file systems do differently.
func roughly(a, b int64) bool {
	return max(a, b)-min(a, b) <= 64<<10+max(a, b)/8
}

func (d *diff) attrs(name, base string, a, b dir) error {
	left, err := a.attrs(base)
	if err != nil {
		return err
	}
	right, err := b.attrs(base)
	if err != nil {
		return err
	}
	all := slices.Sorted(maps.Keys(left))
	all = slices.AppendSeq(all, maps.Keys(right))
	slices.Sort(all)
	for _, attr := range slices.Compact(all) {
		one, inLeft := left[attr]
		other, inRight := right[attr]
		if one != other || inLeft != inRight {
			d.addf(name, "attribute %q is %q (%t) and %q (%t)", attr, one, inLeft, other, inRight)
		}
	}
	return nil
}

// attrs reads the extended attributes of something in d.
func (d dir) attrs(base string) (map[string]string, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	at := fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), base)
	list, err := grow(func(p []byte) (int, error) { return unix.Llistxattr(at, p) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("attributes of %q: %w", base, err)
	}
	attrs := map[string]string{}
	for attr := range strings.SplitSeq(strings.TrimSuffix(list, "\x00"), "\x00") {
		if attr == "" {
			continue
		}
		value, err := grow(func(p []byte) (int, error) { return unix.Lgetxattr(at, attr, p) })
		if err != nil {
			return nil, fmt.Errorf("attribute %s of %q: %w", attr, base, err)
		}
		attrs[attr] = value
	}
	return attrs, nil
}

// grow calls with ever larger memory until what there is fits.
func grow(call func([]byte) (int, error)) (string, error) {
	for p := make([]byte, 1024); ; p = make([]byte, 4*len(p)) {
		n, err := call(p)
		if err == unix.ERANGE && len(p) < 1<<20 {
			continue
		}
		if err != nil {
			return "", err
		}
		return string(p[:n]), nil
	}
}

// nextData returns the first offset from off on where one of the files has data,
// or -1.
func nextData(off int64, files ...*os.File) (int64, error) {
	first := int64(-1)
	for _, f := range files {
		at, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if err == unix.ENXIO {
			continue
		}
		if err != nil {
			return -1, err
		}
		if first < 0 || at < first {
			first = at
		}
	}
	return first, nil
}
