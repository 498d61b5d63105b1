package archive

import "io/fs"

// A stat is what a system knows of a file beyond fs.FileInfo.
type stat struct {
	id           identity
	links        uint64 // names that the file has; 0 where that is not known
	uid, gid     int
	major, minor int64 // of a device
	blocks       int64 // of 512 bytes that it takes; -1 where that is not known
}

// An identity names a file on this machine, whatever it is called.
type identity struct{ dev, ino uint64 }

// unchanged says whether nothing shows that a file was written between two looks.
func unchanged(before, after fs.FileInfo) bool {
	return before.Size() == after.Size() && before.ModTime().Equal(after.ModTime())
}

// holed says whether a file takes less room than its size: it may be sparse.
func holed(info fs.FileInfo) bool {
	blocks := statOf(info).blocks
	return blocks >= 0 && blocks*blockSize < info.Size()
}
