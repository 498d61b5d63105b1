//go:build unix

package filetree

import (
	"io/fs"
	"syscall"
)

// inode is the number of a local file, 0 where it is not known.
func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Ino)
	}
	return 0
}
