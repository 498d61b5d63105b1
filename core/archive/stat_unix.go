//go:build unix

package archive

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// statOf reads what a system knows of a file beyond fs.FileInfo.
func statOf(info fs.FileInfo) stat {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stat{blocks: -1}
	}
	// The fields' types differ from system to system.
	rdev := uint64(st.Rdev)
	return stat{
		id:     identity{uint64(st.Dev), uint64(st.Ino)},
		links:  uint64(st.Nlink),
		uid:    int(st.Uid),
		gid:    int(st.Gid),
		major:  int64(unix.Major(rdev)),
		minor:  int64(unix.Minor(rdev)),
		blocks: int64(st.Blocks),
	}
}

// readFlags open a file to be read. A FIFO that took its place must not block.
const readFlags = unix.O_RDONLY | unix.O_NONBLOCK
