package local

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// clone lets two files share the blocks of one, as Btrfs, XFS and some others can;
// see ioctl_ficlone(2).
func clone(to, from *os.File) error {
	for {
		err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("ioctl FICLONE", err)
		}
	}
}
