package disk

import "golang.org/x/sys/unix"

// blockSize is the unit of a file system's numbers. Bsize is how much is best written
// at once, which is the same in most and another in user space; see statvfs(3).
func blockSize(s unix.Statfs_t) int64 {
	if s.Frsize > 0 {
		return int64(s.Frsize)
	}
	return int64(s.Bsize)
}
