//go:build linux || darwin

package disk

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Of is the Space of the file system that dir lies on.
func Of(dir string) (Space, error) {
	var s unix.Statfs_t
	err := unix.Statfs(dir, &s)
	if err != nil {
		err = &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return spaceOf(s, err)
}

// spaceOf is what a file system answered. Some have no such answer, as in user space.
func spaceOf(s unix.Statfs_t, err error) (Space, error) {
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		return Space{}, nil
	case err != nil:
		return Space{}, err
	}
	block := blockSize(s)
	return Space{Size: int64(s.Blocks) * block, Free: int64(s.Bavail) * block}, nil
}
