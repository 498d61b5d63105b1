package archive

import (
	"archive/tar"
	"errors"
	"math"
	"strconv"

	"golang.org/x/sys/unix"
)

// utimeOmit leaves the time of the last access as it is.
const utimeOmit = unix.UTIME_OMIT

// setAttr sets an extended attribute. What is not opened is named below its open
// directory, because setxattrat is younger than the systems that this runs on.
func (d extractDir) setAttr(name string, fd int, a extractAttr) error {
	if fd != noFD {
		return again(func() error { return unix.Fsetxattr(fd, a.name, []byte(a.value), 0) })
	}
	at := "/proc/self/fd/" + strconv.Itoa(d.fd) + "/" + name
	return again(func() error { return unix.Lsetxattr(at, a.name, []byte(a.value), 0) })
}

// mknod makes a FIFO or a device.
func (d extractDir) mknod(name string, h *tar.Header) error {
	mode, dev := uint32(unix.S_IFIFO), uint64(0)
	if h.Typeflag != tar.TypeFifo {
		if h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor > math.MaxUint32 || h.Devminor > math.MaxUint32 {
			return errors.New("a device of no such number")
		}
		mode, dev = unix.S_IFCHR, unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	}
	if h.Typeflag == tar.TypeBlock {
		mode = unix.S_IFBLK
	}
	return again(func() error { return unix.Mknodat(d.fd, name, mode|0o600, int(dev)) })
}
