package archive

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// quietFlag keeps the time of access as it is. Only the owner may ask for it.
const quietFlag = unix.O_NOATIME

// xattrs reads the extended attributes of an open file; POSIX ACLs are among
// them.
func xattrs(f *os.File) ([]record, error) {
	fd := int(f.Fd())
	return readXattrs(
		func(b []byte) (int, error) { return unix.Flistxattr(fd, b) },
		func(key string, b []byte) (int, error) { return unix.Fgetxattr(fd, key, b) },
	)
}

// xattrsOf reads those of what cannot be opened to be read: a symbolic link, a
// FIFO, a device. The calls for that take a path, and this one goes through the
// open directory. Without /proc there are none.
func xattrsOf(dir *os.File, base string) ([]record, error) {
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), base)
	x, err := readXattrs(
		func(b []byte) (int, error) { return unix.Llistxattr(path, b) },
		func(key string, b []byte) (int, error) { return unix.Lgetxattr(path, key, b) },
	)
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return x, err
}

func readXattrs(list func([]byte) (int, error), get func(string, []byte) (int, error)) (xs []record, err error) {
	keys, err := whole(list)
	if err != nil {
		if errors.Is(err, unix.ENOTSUP) {
			err = nil
		}
		return nil, err
	}
	for key := range bytes.SplitSeq(keys, []byte{0}) {
		if len(key) == 0 {
			continue
		}
		value, e := whole(func(b []byte) (int, error) { return get(string(key), b) })
		if errors.Is(e, unix.ENODATA) {
			continue // removed meanwhile
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("attribute %q: %w", key, e))
			continue
		}
		xs = append(xs, record{string(key), string(value)})
	}
	return xs, err
}

// whole calls get with a buffer that is large enough, though what it gets may
// grow meanwhile.
func whole(get func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := get(nil)
		if n <= 0 || err != nil {
			return nil, err
		}
		b := make([]byte, n)
		if n, err = get(b); !errors.Is(err, unix.ERANGE) {
			return b[:max(n, 0)], err
		}
	}
}

// extents returns where a file of size bytes has data: everywhere, where the file
// system does not tell.
func extents(f *os.File, size int64) (found []extent) {
	for off := int64(0); off < size; {
		data, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole to the end
		}
		var hole int64
		if err == nil {
			hole, err = unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
		}
		if err != nil {
			return []extent{{0, size}}
		}
		found = append(found, extent{data, hole - data})
		off = hole
	}
	return found
}
