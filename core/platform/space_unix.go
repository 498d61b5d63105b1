//go:build linux || darwin

package platform

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// free is what this user may still write to the file system of dir.
func free(dir string) (disk, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return disk{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	block := int64(s.Bsize)
	return disk{size: int64(s.Blocks) * block, free: int64(s.Bavail) * block}, nil
}
