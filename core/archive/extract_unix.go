//go:build linux || darwin

package archive

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// noFD stands for a thing that is not opened.
const noFD = -1

// An extractDir is an open directory. Its methods take the name of something in
// it, one element, and follow no symbolic link.
type extractDir struct{ fd int }

func openExtractDir(root *os.Root) (extractDir, error) {
	f, err := root.Open(".")
	if err != nil {
		return extractDir{}, err
	}
	defer f.Close()
	return extractDir{int(f.Fd())}.child(".")
}

func (d extractDir) close() { unix.Close(d.fd) }

// self is the open directory itself.
func (d extractDir) self() int { return d.fd }

func extractFD(f *os.File) int { return int(f.Fd()) }

// again calls until it is not interrupted by a signal.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func (d extractDir) openAt(name string, flags int, perm uint32) (fd int, err error) {
	err = again(func() error {
		fd, err = unix.Openat(d.fd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, perm)
		return err
	})
	return fd, err
}

// child opens a directory, or answers errNotFolder.
func (d extractDir) child(name string) (extractDir, error) {
	fd, err := d.openAt(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		err = errNotFolder
	}
	return extractDir{fd}, err
}

func (d extractDir) mkdir(name string) error {
	return again(func() error { return unix.Mkdirat(d.fd, name, 0o700) })
}

// create makes a file that was not there.
func (d extractDir) create(name string) (*os.File, error) {
	fd, err := d.openAt(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (d extractDir) symlink(target, name string) error {
	return again(func() error { return unix.Symlinkat(target, d.fd, name) })
}

func (d extractDir) link(from extractDir, old, name string) error {
	return again(func() error { return unix.Linkat(from.fd, old, d.fd, name, 0) })
}

func (d extractDir) remove(name string) error {
	return again(func() error { return unix.Unlinkat(d.fd, name, 0) })
}

// lstat returns the type of what is there.
func (d extractDir) lstat(name string) (fs.FileMode, error) {
	var st unix.Stat_t
	err := again(func() error { return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return 0, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return fs.ModeDir, nil
	}
	return 0, nil
}

// has says whether the directory has something of exactly this name.
func (d extractDir) has(name string) (bool, error) {
	fd, err := d.openAt(".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return false, err
	}
	f := os.NewFile(uintptr(fd), ".")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	return slices.Contains(names, name), err
}

func (d extractDir) chown(name string, uid, gid int) error {
	// The largest number means "leave it" to the system.
	if uid < 0 || gid < 0 || int64(uid) >= math.MaxUint32 || int64(gid) >= math.MaxUint32 {
		return unix.EINVAL
	}
	return again(func() error { return unix.Fchownat(d.fd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW) })
}

func (d extractDir) chmod(name string, fd int, bits uint32) error {
	if fd != noFD {
		return again(func() error { return unix.Fchmod(fd, bits) })
	}
	err := again(func() error { return unix.Fchmodat(d.fd, name, bits, unix.AT_SYMLINK_NOFOLLOW) })
	if errors.Is(err, unix.EOPNOTSUPP) { // Linux before 6.6; what is there is the FIFO or device just made
		err = again(func() error { return unix.Fchmodat(d.fd, name, bits, 0) })
	}
	return err
}

func (d extractDir) chtimes(name string, mtime time.Time) error {
	ts, err := unix.TimeToTimespec(mtime)
	if err != nil {
		return err
	}
	times := []unix.Timespec{{Nsec: utimeOmit}, ts}
	return again(func() error { return unix.UtimesNanoAt(d.fd, name, times, unix.AT_SYMLINK_NOFOLLOW) })
}

// extractFull says whether an error means that nothing more can be written.
func extractFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
