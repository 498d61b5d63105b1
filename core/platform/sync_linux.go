package platform

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncAll returns when all files below root are on disk. It syncs the whole file
// system, which is one call for any number of files.
func syncAll(root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return errors.Join(os.NewSyscallError("syncfs", err), dir.Close())
	}
	return dir.Close()
}
