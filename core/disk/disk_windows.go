package disk

import (
	"io/fs"

	"golang.org/x/sys/windows"
)

// Of is the Space of the file system that dir lies on.
func Of(dir string) (Space, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return Space{}, err
	}
	var mine, size uint64
	if err := windows.GetDiskFreeSpaceEx(path, &mine, &size, nil); err != nil {
		return Space{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return Space{Size: int64(size), Free: int64(mine)}, nil
}
