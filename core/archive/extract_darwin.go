package archive

import (
	"archive/tar"
	"errors"

	"golang.org/x/sys/unix"
)

// utimeOmit leaves the time of the last access as it is; UTIME_OMIT of sys/stat.h.
const utimeOmit = -2

// setAttr sets an extended attribute of a file or directory.
func (d extractDir) setAttr(_ string, fd int, a extractAttr) error {
	if fd == noFD {
		return errors.ErrUnsupported
	}
	return again(func() error { return unix.Fsetxattr(fd, a.name, []byte(a.value), 0) })
}

// mknod would need a path.
func (d extractDir) mknod(string, *tar.Header) error { return errors.ErrUnsupported }
