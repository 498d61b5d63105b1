package archive

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"sync"

	"github.com/offsite-backup/offsite/core"
)

// ExtractOptions say what of an archive is restored, and how. The zero value
// restores everything, as files of whoever restores it.
type ExtractOptions struct {
	// Below restores only what lies below this name, and puts it straight into the
	// target; the directory's own mode and times are left alone. A thing of that
	// name that is no directory is put into the target itself. A name that an
	// archive read to its end does not have is ErrNotFound. "" means all.
	Below string

	Owners  bool // restore user and group, by number, and ACLs; other owners take root
	Devices bool // make device nodes; that takes root
	SetID   bool // keep setuid and setgid bits, file capabilities, and all attributes trusted.* and security.*

	// Overwrite replaces what is there, but for a directory by something else.
	// Without it an existing thing that is no directory is ErrExists. Existing
	// directories are always filled.
	Overwrite bool

	// Expect yields what each entry of the stream must be, as Reader.List does: one of
	// another name, link or SHA-256 is ErrDamaged, and what it yields as an error is
	// returned. The extraction ends when it does, and nothing is said about the rest
	// of the stream. The holes of sparse files are hashed with their data. nil is
	// anything, to the archive's end.
	Expect iter.Seq2[Entry, error]

	// Content returns a tar stream that begins with the entry of that name, and the
	// entry. It is asked for the content of a hard link whose first name is not
	// restored with it, and the stream is closed. Without it such a link is lost.
	Content func(ctx context.Context, name string) (io.ReadCloser, Entry, error)

	// Workers is how many goroutines write files of up to 1 MiB; each has two
	// buffers of that size at the most. 0 is one for each processor, up to eight.
	Workers int

	// Report is told of each thing that could not be restored as it was. It is
	// called by one goroutine at a time and must not call back.
	Report func(Oddity)
}

// ExtractStats say what an extraction did, also one that failed.
type ExtractStats struct {
	Entries     int64 // files, directories, links and other things restored
	ContentSize int64 // bytes in the files restored, holes included; hard links count once
	Lost        int64 // oddities with content that is missing
	Odd         int64 // all oddities
}

// Extract restores a tar stream below root.
//
// Nothing outside root is written, read or followed, whatever names and links the
// archive has: directories are opened one by one without following symbolic links,
// those that the archive makes and those that were there before. Symbolic links
// are restored as they are, wherever they point.
//
// An archive that is cut short, has an unclean name (absolute, or with ".."), goes
// through something that is no directory, links to outside or to a directory, or
// has a name twice is ErrDamaged, and the extraction ends. It also ends with the
// error of stream, which is read up to its io.EOF; with ErrNoSpace; with ErrExists
// (see Overwrite); and with the context, whose end must also end a read of stream.
// What was restored until then stays, without a file that is not whole.
// Everything else that cannot be restored as it was is an Oddity, and the rest is
// restored; what cannot be restored at all is one with Lost.
//
// Files and directories are open to their owner alone until they are complete. It
// uses up to two buffers of 1 MiB for each worker, and about 100 bytes and the
// name for each directory; in a target that was not empty, another 20 bytes for
// each entry. Several extractions may fill different targets at once.
func Extract(ctx context.Context, stream io.Reader, root *os.Root, o ExtractOptions) (ExtractStats, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	x, err := newExtraction(ctx, stop, root, o)
	if err != nil {
		return ExtractStats{}, err
	}
	defer x.tree.close()
	var workers sync.WaitGroup
	for range cap(x.free) / 2 {
		workers.Go(x.work)
	}
	err = x.all(stream)
	if err != nil {
		stop(err)
	}
	close(x.jobs)
	workers.Wait()
	if ctx.Err() != nil {
		return x.stats, context.Cause(ctx)
	}
	return x.stats, err
}

// An extraction is one call of Extract. Its methods belong to the goroutine that
// reads the stream, but for work, write and what those call.
type extraction struct {
	ctx   context.Context
	stop  context.CancelCauseFunc
	o     ExtractOptions
	below string // the clean form of o.Below
	found bool   // whether below was there
	tree  *extractTree
	moved map[string]string // first names that are not restored: which link has their content

	jobs    chan extractJob
	free    chan []byte    // buffers for small files
	pending sync.WaitGroup // small files that are not written yet

	mu    sync.Mutex // guards what follows, and calls of Report
	stats ExtractStats
}

func newExtraction(ctx context.Context, stop context.CancelCauseFunc, root *os.Root, o ExtractOptions) (*extraction, error) {
	below, err := belowName(o.Below)
	if err != nil {
		return nil, err
	}
	tree, err := newExtractTree(root)
	if err != nil {
		return nil, err
	}
	x := &extraction{ctx: ctx, stop: stop, o: o, below: below, found: below == "", tree: tree, moved: map[string]string{}}
	buffers := 2 * extractWorkers(o.Workers)
	x.jobs = make(chan extractJob, buffers)
	x.free = make(chan []byte, buffers)
	for range buffers {
		x.free <- nil
	}
	return x, nil
}

// all restores the stream and, at last, the directories' modes and times.
func (x *extraction) all(stream io.Reader) error {
	restore := x.whole
	if x.o.Expect != nil {
		restore = x.expected
	}
	if err := restore(newExtractStream(x.ctx, stream)); err != nil {
		return err
	}
	x.pending.Wait()
	if x.ctx.Err() != nil {
		return context.Cause(x.ctx)
	}
	return x.finish()
}

// whole restores entries to the end of the archive.
func (x *extraction) whole(s *extractStream) error {
	for {
		hdr, err := s.next()
		if err == io.EOF && !x.found {
			return core.Errorf(core.ErrNotFound, "the archive has no %q", x.below)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := x.entry(s, hdr, nil); err != nil {
			return err
		}
	}
}

// expected restores entries as long as more are expected.
func (x *extraction) expected(s *extractStream) error {
	for want, err := range x.o.Expect {
		if err != nil {
			return err
		}
		hdr, err := s.next()
		if err == io.EOF {
			return core.Errorf(core.ErrDamaged, "the archive ends where %q should be", want.Name)
		}
		if err != nil {
			return err
		}
		if err := x.entry(s, hdr, &want); err != nil {
			return err
		}
	}
	return nil
}

// An extractEntry is one entry on its way to the target.
type extractEntry struct {
	name string // in the archive
	rel  string // in the target
	base string // the last element of rel
	hdr  *tar.Header
	meta extractMeta
	body *extractStream
	sum  string // the SHA-256 that its content must have; "" for any
}

func (x *extraction) entry(s *extractStream, hdr *tar.Header, want *Entry) error {
	name, err := extractName(hdr.Name)
	if err != nil {
		return err
	}
	e := &extractEntry{name: name, hdr: hdr, body: s}
	if err := e.expect(want); err != nil {
		return err
	}
	isDir := hdr.Typeflag == tar.TypeDir
	if !isDir && (name == "." || hdr.Name[len(hdr.Name)-1] == '/') {
		return core.Errorf(core.ErrDamaged, "archive entry %q has a directory's name and is none", hdr.Name)
	}
	rel, ok := x.place(name, isDir)
	if !ok {
		return nil
	}
	e.move(rel)
	e.meta = x.metaOf(e)
	return x.tolerate(e.rel, x.restore(e))
}

// expect compares the entry with what the caller wants it to be.
func (e *extractEntry) expect(want *Entry) error {
	if want == nil {
		return nil
	}
	hasContent := e.hdr.Typeflag == tar.TypeReg || e.hdr.Typeflag == tar.TypeCont
	switch {
	case want.Name != e.name:
		return core.Errorf(core.ErrDamaged, "the archive has %q where %q should be", e.name, want.Name)
	case want.Link != e.hdr.Linkname:
		return core.Errorf(core.ErrDamaged, "archive entry %q is a link to %q, and should be to %q", e.name, e.hdr.Linkname, want.Link)
	case want.Link == "" && hasContent != (want.SHA256 != ""):
		return core.Errorf(core.ErrDamaged, "archive entry %q should be a file and is none, or the reverse", e.name)
	}
	e.sum = want.SHA256
	return nil
}

// move gives the entry another name in the target.
func (e *extractEntry) move(rel string) { e.rel, e.base = rel, baseName(rel) }

func (x *extraction) restore(e *extractEntry) error {
	switch e.hdr.Typeflag {
	case tar.TypeDir:
		return x.directory(e)
	case tar.TypeReg, tar.TypeCont:
		return x.file(e)
	case tar.TypeSymlink:
		return x.symlink(e)
	case tar.TypeLink:
		return x.hardlink(e)
	case tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
		return x.node(e)
	}
	return &extractLoss{"of a kind that is not known here", nil}
}

// An extractLoss is why one entry could not be restored. The others are not
// concerned.
type extractLoss struct {
	what string
	err  error
}

func (l *extractLoss) Error() string { return l.what }
func (l *extractLoss) Unwrap() error { return l.err }

// lost makes an extractLoss of an error of the target's file system, unless
// nothing more can be written there.
func (x *extraction) lost(rel, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case core.KindOf(err) != "" || x.ctx.Err() != nil:
		return err
	case extractFull(err):
		return core.Errorf(core.ErrNoSpace, "restoring %q: %w: make room and restore again", rel, err)
	}
	return &extractLoss{what, err}
}

// tolerate reports a loss and returns any other error.
func (x *extraction) tolerate(rel string, err error) error {
	if l := (*extractLoss)(nil); errors.As(err, &l) {
		x.tree.disclaim(rel)
		x.odd(Oddity{Path: rel, What: l.what, Lost: true, Err: l.err})
		return nil
	}
	return err
}

func (x *extraction) odd(o Oddity) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stats.Odd++
	if o.Lost {
		x.stats.Lost++
	}
	if x.o.Report != nil {
		x.o.Report(o)
	}
}

// restored counts one entry.
func (x *extraction) restored(content int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stats.Entries++
	x.stats.ContentSize += content
}
