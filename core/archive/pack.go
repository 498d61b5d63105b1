package archive

import (
	"context"
	"errors"
	"io"
	"runtime"

	"github.com/offsite-backup/offsite/core"
	"golang.org/x/sync/errgroup"
)

// Options say what goes into an archive.
type Options struct {
	// Paths are what to back up: files and directories, absolute or relative to the
	// working directory. Each must be there, and paths within others are part of
	// those. A path that is a symbolic link stands for what it points to, under its
	// own name; a link that is found below a path is archived as a link.
	Paths []string

	// Dirs are further directories with names of their own in the archive, such as
	// "hooks/db". A path to back up may not begin with the first part of such a
	// name. They may be empty.
	Dirs map[string]string

	// Exclude are patterns of what is left out of Paths, with all that is in it. A
	// path that is named is not left out itself. A pattern is matched part by part
	// as path.Match does:
	//
	//	*.tmp           without a slash: whatever is called that, at any depth
	//	cache/          with a slash at the end: directories alone
	//	data/*.lock     with a slash inside: counted from each of Paths
	//	/var/lib/*/tmp  with a slash at the begin: counted from the root
	Exclude []string

	// Leave are directories and files that are left out wherever they lie, such as
	// the destination of the backup. They need not exist yet.
	Leave []string

	// AllowEmpty accepts a path that holds no file.
	AllowEmpty bool

	// Workers is how many frames are compressed at once, and how many small files
	// are read at once; 0 means GOMAXPROCS, at most 8. Each takes
	// about 8 MiB.
	Workers int

	// Report is told of each oddity, by one goroutine at a time. It may be
	// nil.
	Report func(Oddity)
}

// maxWorkers keeps memory within bounds on large machines; more only wait for
// the one goroutine that reads large files.
const maxWorkers = 8

// Stats say what an archive holds.
type Stats struct {
	Entries     int64    // files, directories, links and other things
	ContentSize int64    // bytes in its files, holes included; several names of one file count once
	TOC         core.TOC // where the index lies in the zstd stream
	Lost        int64    // oddities with content that is missing
	Odd         int64    // all oddities
}

// Pack writes an archive of what o names to w, from one goroutine. Its memory
// does not depend on how much that is, but for the names in one directory and
// the files with several names.
//
// Before the first byte it answers ErrNotFound or ErrDenied for a path that is not
// there or cannot be looked at, and ErrInvalid for one that holds no file (only
// directories, after Exclude and Leave), a pattern that is none, and a path that
// would mix with Dirs. Nothing that happens to a file after that damages the
// archive; Report is told of it, and only where no file was left at all Pack
// answers ErrDenied or ErrChanged:
//
//	vanished      it was there when its directory was read; it is not in the archive
//	unreadable    it is not in the archive, or ends in zeros; content is lost
//	changed       it was written while it was read. If it got shorter, or was replaced
//	              again and again, content is lost; if it grew, its begin is archived
//	socket        it is not archived: the process that listens makes it again
//	unknown type  it is not archived, and lost
//	attributes    extended attributes could not be read or are too large; they are lost
//
// Errors of w and the cause of ctx's end are returned as they are. What was
// written by then is no archive. No goroutine outlives Pack.
func Pack(ctx context.Context, w io.Writer, o Options) (Stats, error) {
	walk, err := newWalker(ctx, o)
	if err != nil {
		return Stats{}, err
	}
	workers := o.Workers
	if workers <= 0 {
		workers = min(runtime.GOMAXPROCS(0), maxWorkers)
	}
	enc, err := newEncoder(workers)
	if err != nil {
		return Stats{}, err
	}
	frames := &frameWriter{w: w, enc: enc}
	stats, err := pipeline(ctx, walk, frames, workers, o.Report)
	if err == nil && stats.files == 0 && len(o.Paths) > 0 && !o.AllowEmpty {
		err = nothing(stats.Stats)
	}
	if err == nil {
		stats.TOC, err = frames.finish()
	}
	return stats.Stats, errors.Join(err, enc.Close())
}

// nothing is why an archive of paths that held files has none.
func nothing(s Stats) error {
	if s.Lost > 0 {
		return core.Errorf(core.ErrDenied, "nothing could be read of the paths to back up")
	}
	return core.Errorf(core.ErrChanged, "everything in the paths to back up vanished while it was read")
}

// newWalker checks o.
func newWalker(ctx context.Context, o Options) (*walker, error) {
	if len(o.Paths)+len(o.Dirs) == 0 {
		return nil, core.Errorf(core.ErrInvalid, "no path to back up")
	}
	rs, err := roots(o)
	if err != nil {
		return nil, err
	}
	w := &walker{pending: rs}
	if w.patterns, err = parsePatterns(o.Exclude); err != nil {
		return nil, err
	}
	if w.left, err = leave(o.Leave); err != nil {
		return nil, err
	}
	if !o.AllowEmpty {
		err = probe(ctx, *w, rs)
	}
	return w, err
}

// pipeline runs what the archive goes through: the walk; loaders, several at once,
// that read small files ahead; the assembler, that puts all in order and reads large
// files; compressors, several at once; and the writer. Each hands on to the next
// through channels of bounded length.
func pipeline(ctx context.Context, walk *walker, frames *frameWriter, workers int, report func(Oddity)) (packed, error) {
	var (
		most  = workers + 3 // frames: one filled, one written, one to spare
		items = make(chan *item, 32)
		load  = make(chan *item, 32)
		work  = make(chan *frame, most)
		out   = make(chan *frame, most)
		free  = make(chan *frame, most)
	)
	g, ctx := errgroup.WithContext(ctx)
	l := &loader{ctx: ctx, links: &links{first: map[identity]*linked{}}}
	a := &assembler{ctx: ctx, loader: l, report: report, spare: most, free: free, work: work, out: out}
	walk.emit = func(m mark) error { return send(ctx, m, items, load) }
	g.Go(func() error {
		defer close(items)
		defer close(load)
		return walk.walk(ctx)
	})
	for range workers {
		g.Go(func() error { l.loadAll(ctx, load); return nil })
		g.Go(func() error { compress(frames.enc, work); return nil })
	}
	g.Go(func() error {
		defer close(work)
		defer close(out)
		return a.run(items)
	})
	g.Go(func() error { return frames.run(ctx, out, free) })
	err := g.Wait()
	for it := range items {
		it.release() // of a walk that was ended
	}
	return packed{a.stats, a.files}, err
}

// packed is what a pipeline packed.
type packed struct {
	Stats
	files int64
}

// send hands a mark to the loaders and, in its place, to the assembler.
func send(ctx context.Context, m mark, items, load chan<- *item) error {
	it := &item{mark: m, ready: make(chan struct{})}
	m.dir.hold()
	if m.self != nil {
		m.self.hold()
	}
	select {
	case items <- it:
	case <-ctx.Done():
		it.release()
		return context.Cause(ctx)
	}
	select {
	case load <- it:
		return nil
	case <-ctx.Done():
		it.skip = true
		close(it.ready)
		return context.Cause(ctx)
	}
}
