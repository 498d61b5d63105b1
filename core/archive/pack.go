package archive

import (
	"context"
	"io"

	"github.com/offsite-backup/offsite/core"
)

// Options say what goes into an archive.
type Options struct {
	// Paths are what to back up, absolute or relative; each must exist.
	Paths []string

	// Dirs are further roots: the name in the archive ("hooks/db") and the
	// directory on disk.
	Dirs map[string]string

	// Exclude are patterns of what is left out below Paths.
	Exclude []string

	// Leave are directories and files that are left out wherever they lie.
	Leave []string

	// AllowEmpty accepts a path that holds no file.
	AllowEmpty bool

	// Workers is how many frames are compressed at once; 0 means GOMAXPROCS.
	Workers int

	// Report is told of each oddity, from one goroutine at a time.
	Report func(Oddity)
}

// Stats say what an archive holds.
type Stats struct {
	Entries     int64    // files, folders, links and other things
	ContentSize int64    // bytes in its files; what hard links share counts once
	TOC         core.TOC // where the index lies in the zstd stream
	Lost        int64    // oddities with content that is missing
	Odd         int64    // all oddities
}

// Pack writes an archive of what o names to w.
func Pack(ctx context.Context, w io.Writer, o Options) (Stats, error) {
	return Stats{}, core.ErrUnsupported
}
