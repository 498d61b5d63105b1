//go:build linux || darwin

package disk

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// Of is the Space of the file system that dir lies on.
func Of(dir string) (Space, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return Space{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	block := int64(s.Bsize)
	return Space{Size: int64(s.Blocks) * block, Free: int64(s.Bavail) * block}, nil
}
