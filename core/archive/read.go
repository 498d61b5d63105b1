package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"iter"
	"sort"
	"strings"
	"sync"

	"github.com/offsite-backup/offsite/core"
)

// A Ranger gives bytes of a zstd stream. A core.Archive that is not encrypted is
// one.
type Ranger interface {
	// Range returns exactly n bytes from off, as core.Archive does.
	Range(ctx context.Context, off, n int64) (io.ReadCloser, error)
}

// A Reader reads an archive by its table of contents. It is safe for concurrent
// use where its Ranger is.
//
// An error of the Ranger is returned as it is. What is read and not understood,
// or not what was packed, is ErrDamaged.
type Reader struct {
	r       Ranger
	end     int64 // where the data and its tables end, and the index begins
	rows    []row
	entries int64

	mu     sync.Mutex
	recent []table // the tables read last, the latest at the end
}

// A table is one table of contents that was read. Nobody changes it.
type table struct {
	row     int
	entries []Entry
}

// recentTables is how many tables a Reader keeps: a look at a directory asks for
// the same few again and again.
const recentTables = 4

// Open reads the index that toc names and checks its SHA-256. It reads nothing
// else. ctx bounds Open, not the Reader.
func Open(ctx context.Context, r Ranger, toc core.TOC) (*Reader, error) {
	if toc.Offset < 0 || toc.Size < skippableHeader || toc.Size > maxIndex {
		return nil, damaged("the table of contents cannot be %d bytes at %d", toc.Size, toc.Offset)
	}
	frame, err := fetch(ctx, r, toc.Offset, toc.Size)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(frame); hex.EncodeToString(sum[:]) != toc.SHA256 {
		return nil, damaged("the index of the table of contents is not the one that was packed")
	}
	content, err := unwrap(frame, maxIndex)
	if err != nil {
		return nil, err
	}
	rows, entries, err := decodeIndex(content, toc.Offset)
	if err != nil {
		return nil, err
	}
	return &Reader{r: r, end: toc.Offset, rows: rows, entries: entries}, nil
}

// Len is how many entries the archive has.
func (r *Reader) Len() int64 { return r.entries }

// fetch reads n bytes. Memory grows as they come, whatever n says.
func fetch(ctx context.Context, r Ranger, off, n int64) (_ []byte, err error) {
	in, err := r.Range(ctx, off, n)
	if err != nil {
		return nil, err
	}
	defer in.Close() // only read, and to its end or not at all
	var b bytes.Buffer
	got, err := b.ReadFrom(io.LimitReader(in, n))
	if err != nil {
		return nil, err
	}
	if got < n {
		return nil, damaged("%d bytes at %d ended after %d", n, off, got)
	}
	return b.Bytes(), atEnd(in)
}

// atEnd reads the io.EOF of a range of which every byte was read: the checks of a
// range come with it.
func atEnd(in io.Reader) error {
	extra, err := io.Copy(io.Discard, io.LimitReader(in, 1))
	if err == nil && extra > 0 {
		err = damaged("a range of the archive goes on after its end")
	}
	return err
}

// table reads the table of a row.
func (r *Reader) table(ctx context.Context, i int) ([]Entry, error) {
	if entries, ok := r.kept(i); ok {
		return entries, nil
	}
	row := r.rows[i]
	frame, err := fetch(ctx, r.r, row.off, row.size)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(frame) != row.sum {
		return nil, damaged("a table of contents at %d is not the one that was packed", row.off)
	}
	content, err := unwrap(frame, maxTable)
	if err != nil {
		return nil, err
	}
	entries, err := decodeTable(content, r.end)
	if err != nil {
		return nil, err
	}
	last := ""
	if len(entries) > 0 {
		last = entries[len(entries)-1].Name
	}
	if len(entries) == 0 || entries[0].Name != row.first || i+1 < len(r.rows) && compareNames(last, r.rows[i+1].first) >= 0 {
		return nil, damaged("a table of contents at %d is not in its place", row.off)
	}
	r.keep(table{i, entries})
	return entries, nil
}

func (r *Reader) kept(i int) ([]Entry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.recent {
		if t.row == i {
			return t.entries, true
		}
	}
	return nil, false
}

func (r *Reader) keep(t table) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.recent) == recentTables {
		r.recent = append(r.recent[:0], r.recent[1:]...)
	}
	r.recent = append(r.recent, t)
}

// from yields the entries that are not before name, in walk order. It reads the
// tables as the caller goes on.
func (r *Reader) from(ctx context.Context, name string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		// The last table that begins before name, or with it, may have it.
		first := sort.Search(len(r.rows), func(i int) bool { return compareNames(r.rows[i].first, name) > 0 }) - 1
		for i := max(first, 0); i < len(r.rows); i++ {
			entries, err := r.table(ctx, i)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			skip := sort.Search(len(entries), func(i int) bool { return compareNames(entries[i].Name, name) >= 0 })
			for _, e := range entries[skip:] {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// List yields the entries in walk order: what is called below and what lies below
// it, or all where below is "". It reads only the tables that can have them, each
// as the caller comes to it. A name that nothing has yields nothing. An error
// ends it.
func (r *Reader) List(ctx context.Context, below string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		below = cleanName(below)
		for e, err := range r.from(ctx, below) {
			if err == nil && below != "" && e.Name != below && !within(e.Name, below) {
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Find returns the entry of a name: an absolute path, with or without its leading
// slash. It reads one table. ErrNotFound says that there is none, as for a
// directory above the paths that were backed up.
func (r *Reader) Find(ctx context.Context, name string) (Entry, error) {
	name = cleanName(name)
	// Reading on into the next table would only show what comes after.
	next := sort.Search(len(r.rows), func(i int) bool { return compareNames(r.rows[i].first, name) > 0 })
	if next > 0 {
		entries, err := r.table(ctx, next-1)
		if err != nil {
			return Entry{}, err
		}
		i := sort.Search(len(entries), func(i int) bool { return compareNames(entries[i].Name, name) >= 0 })
		if i < len(entries) && entries[i].Name == name {
			return entries[i], nil
		}
		if i < len(entries) && within(entries[i].Name, name) {
			return Entry{}, r.above(name)
		}
	}
	if next < len(r.rows) && within(r.rows[next].first, name) {
		return Entry{}, r.above(name)
	}
	return Entry{}, core.Errorf(core.ErrNotFound, "no %q in this archive: names are whole paths, such as %q", name, r.example())
}

func (r *Reader) above(name string) error {
	return core.Errorf(core.ErrNotFound, "%q is no entry of this archive, but something in it is: list what lies below it", name)
}

func (r *Reader) example() string {
	if len(r.rows) == 0 {
		return "home/u/notes"
	}
	return r.rows[0].first
}

// cleanName takes a name as people write it.
func cleanName(name string) string { return strings.Trim(name, "/") }
