package archive

import (
	"context"
	"io"
	"os"

	"github.com/offsite-backup/offsite/core"
)

// ExtractOptions say what of an archive is restored, and how. The zero value
// restores everything, with the rights of whoever restores it.
type ExtractOptions struct {
	// Below restores only what lies below this name, and puts it straight into the
	// target; a thing of that name that is no directory goes there itself. "" is all.
	Below string

	// Only restores these names alone: whole directories, or single things. nil is all.
	Only []string

	Owners    bool // restore user and group by number; needs to be root
	Devices   bool // make device nodes; needs to be root
	SetID     bool // keep setuid and setgid bits, and file capabilities
	Overwrite bool // replace what is there; without it an existing non-directory is ErrExists

	// Limit ends the extraction after this many entries of the stream, without
	// asking for the end of the archive. 0 is all of it.
	Limit int64

	// Want is what the only entry of ExtractOne must be: another name, or content
	// of another SHA-256, is ErrDamaged. Extract does not look at it.
	Want *Entry

	// Content returns a tar stream that begins with the entry of that name. It is
	// asked for a hard link whose first name, which has the content, is not
	// restored. Without it such a link is lost and reported.
	Content func(ctx context.Context, name string) (io.ReadCloser, error)

	// Workers is how many goroutines write small files; 0 is as many as suit.
	Workers int

	// Report is told of each thing that could not be restored as it was. It is
	// called by one goroutine at a time.
	Report func(Oddity)
}

// ExtractStats say what an extraction did.
type ExtractStats struct {
	Entries     int64 // files, directories, links and other things restored
	ContentSize int64 // bytes of content in the files restored, holes included
	Lost        int64 // oddities that mean missing content
	Odd         int64 // all oddities
}

// Decompress returns the tar stream of a whole archive.
func Decompress(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	return nil, core.ErrUnsupported
}

// Extract restores a tar stream below root.
func Extract(ctx context.Context, tar io.Reader, root *os.Root, o ExtractOptions) (ExtractStats, error) {
	return ExtractStats{}, core.ErrUnsupported
}

// ExtractOne restores the first entry of a tar stream below root.
func ExtractOne(ctx context.Context, tar io.Reader, root *os.Root, o ExtractOptions) (ExtractStats, error) {
	return ExtractStats{}, core.ErrUnsupported
}
