package archive

import (
	"fmt"
	"io/fs"
	"time"
)

// An Entry is one file, folder, link or other thing in an archive, as its table
// of contents has it.
type Entry struct {
	Name    string      // its absolute path without the leading slash; any bytes but NUL
	Mode    fs.FileMode // type and permission bits
	Size    int64       // bytes of content; 0 for what has none
	ModTime time.Time
	Link    string // where a symbolic link points, or the Name that a hard link shares
	UID     int
	GID     int
	SHA256  string // of the content of a regular file, lower-case hex

	at place
}

// An Oddity is something that an archive could not carry as it was, or that an
// extraction could not restore as it was.
type Oddity struct {
	Path string // where it lies in the file system or the archive
	What string // "vanished", "unreadable", "changed", "socket", …
	Lost bool   // whether content is missing that should be there
	Err  error  // the cause, where there is one
}

// String says what is odd in one line.
func (o Oddity) String() string {
	if o.Err == nil {
		return fmt.Sprintf("%q: %s", o.Path, o.What)
	}
	return fmt.Sprintf("%q: %s: %v", o.Path, o.What, o.Err)
}

// A place says where the tar entry of an Entry lies.
type place struct {
	frame  int64 // offset of its first zstd frame in the archive's zstd stream
	skip   int64 // bytes of that frame's content before the entry's first header
	packed int64 // bytes of the zstd stream from there to the end of the entry's last frame
}
