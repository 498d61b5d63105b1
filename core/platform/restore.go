package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/archive"
)

// Restore puts the content of a backup into the directory dest, which must be
// absent or empty unless o says otherwise, and whose parent must exist. All is
// restored beside it, in DEST.partial-ID, and moved to its place when it is
// complete and, on Linux, on disk; until then nothing in dest is touched. While
// one restore fills that, another is ErrUnavailable. The agents
// are asked in order; when one fails, the next one goes on, and when one proves
// damaged, the restore begins again with the next. A name that the backup does not
// have is fs.ErrNotExist, and ErrNotFound only a backup that is not there.
func (p *Platform) Restore(ctx context.Context, id core.ID, dest string, o RestoreOptions) (_ Restored, err error) {
	c, err := p.copies(ctx, id)
	if err != nil {
		return Restored{}, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.packed(ctx); err != nil {
		return Restored{}, err
	}
	r := &restore{copies: c, options: o}
	for {
		t, err := newTarget(dest, id, o.Overwrite)
		if err != nil {
			return Restored{}, err
		}
		failed, _ := c.current(ctx)
		stats, err := r.fill(ctx, t)
		if err == nil {
			done := Restored{c.Backup(), c.agent(), c.failed(), stats.Entries, stats.ContentSize, stats.Odd, stats.Lost}
			return done, t.publish()
		}
		err = fmt.Errorf("%s from %s: %w", id, c.agent(), err)
		if err = errors.Join(err, t.discard()); !errors.Is(err, core.ErrDamaged) || !c.drop(failed, err) {
			return Restored{}, err
		}
	}
}

// A restore is one Restore on its way.
type restore struct {
	*copies
	options RestoreOptions
	reader  *archive.Reader // where only a part is restored
}

func (r *restore) fill(ctx context.Context, t *target) (archive.ExtractStats, error) {
	o := archive.ExtractOptions{
		Below: r.options.Below, Owners: r.options.Owners, Devices: r.options.Devices, SetID: r.options.SetID,
		Report: r.options.Odd,
	}
	if len(r.options.Files) == 0 && r.options.Below == "" {
		return r.all(ctx, t, o)
	}
	return r.some(ctx, t, o)
}

// all extracts the whole archive in one stream.
func (r *restore) all(ctx context.Context, t *target, o archive.ExtractOptions) (_ archive.ExtractStats, err error) {
	stored, err := r.Range(ctx, 0, -1)
	if err != nil {
		return archive.ExtractStats{}, err
	}
	defer func() { err = errors.Join(err, stored.Close()) }()
	// Decompressing stops at the end of the tar stream, checking at the end of the
	// archive.
	checked := &remember{Reader: stored}
	tar, err := archive.Decompress(ctx, checked)
	if err != nil {
		return archive.ExtractStats{}, err
	}
	stats, err := archive.Extract(ctx, tar, t.root, o)
	if err = errors.Join(err, tar.Close()); err == nil {
		_, err = io.Copy(io.Discard, checked)
	}
	if checked.err != nil && !errors.Is(err, checked.err) {
		err = errors.Join(checked.err, err) // damage found below shows as nonsense above
	}
	return stats, err
}

// A remember keeps the error of a reader, whatever those above make of it.
type remember struct {
	io.Reader
	err error
}

func (r *remember) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// some extracts what was named, each name in one stream that begins at its first
// entry.
func (r *restore) some(ctx context.Context, t *target, o archive.ExtractOptions) (sum archive.ExtractStats, err error) {
	if r.reader, err = r.contents(ctx); err != nil {
		return sum, err
	}
	o.Content = r.content
	wanted := r.options.Files
	if len(wanted) == 0 {
		wanted = []string{r.options.Below}
	}
	for _, name := range outermost(wanted) {
		stats, err := r.named(ctx, t, name, o)
		if err != nil {
			return sum, err
		}
		sum.Entries += stats.Entries
		sum.ContentSize += stats.ContentSize
		sum.Lost += stats.Lost
		sum.Odd += stats.Odd
	}
	return sum, nil
}

func (r *restore) named(ctx context.Context, t *target, name string, o archive.ExtractOptions) (_ archive.ExtractStats, err error) {
	o.Expect = r.reader.List(ctx, name)
	first, err := head(o.Expect)
	if err != nil {
		return archive.ExtractStats{}, err
	}
	if first == nil {
		return archive.ExtractStats{}, fmt.Errorf("%q is not in backup %s, ls shows what is: %w", name, r.id, fs.ErrNotExist)
	}
	tar, err := r.reader.Tar(ctx, *first)
	if err != nil {
		return archive.ExtractStats{}, err
	}
	defer func() { err = errors.Join(err, tar.Close()) }()
	return archive.Extract(ctx, tar, t.root, o)
}

// head is the first of the entries, nil where there is none.
func head(entries iter.Seq2[archive.Entry, error]) (*archive.Entry, error) {
	for e, err := range entries {
		return &e, err
	}
	return nil, nil
}

// content is the tar stream of the entry that a hard link shares its content with.
func (r *restore) content(ctx context.Context, name string) (io.ReadCloser, archive.Entry, error) {
	e, err := r.reader.Find(ctx, name)
	if err != nil {
		return nil, e, err
	}
	tar, err := r.reader.Tar(ctx, e)
	return tar, e, err
}

// outermost are names of entries, which a person may write with a leading or
// trailing slash, without those that lie in another.
func outermost(names []string) (all []string) {
	clean := make([]string, len(names))
	for i, s := range names {
		clean[i] = path.Clean("/" + s)[1:]
	}
	slices.Sort(clean)
	for _, name := range clean {
		inside := func(dir string) bool { return dir == "" || name == dir || strings.HasPrefix(name, dir+"/") }
		if !slices.ContainsFunc(all, inside) {
			all = append(all, name)
		}
	}
	return all
}
