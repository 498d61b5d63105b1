package platform

import (
	"io/fs"

	"golang.org/x/sys/windows"
)

// free is what this user may still write to the file system of dir.
func free(dir string) (disk, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return disk{}, err
	}
	var mine, size uint64
	if err := windows.GetDiskFreeSpaceEx(path, &mine, &size, nil); err != nil {
		return disk{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return disk{size: int64(size), free: int64(mine)}, nil
}
