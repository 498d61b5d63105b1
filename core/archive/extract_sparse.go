package archive

import (
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/offsite-backup/offsite/core"
)

// extractExtents is the most pieces of data that a sparse file may have, 16 MiB
// of memory.
const extractExtents = 1 << 20

// extractSparse are the pieces of data of a sparse file, in order, and its size.
type extractSparse struct {
	data []extent
	size int64
}

func (e *extractEntry) isSparse() bool {
	for key := range e.hdr.PAXRecords {
		if strings.HasPrefix(key, hiddenKey) {
			return true
		}
	}
	return false
}

// readSparse reads the map of a sparse file in the PAX format 1.0 of GNU tar: in
// front of the data, decimal numbers, a line each: how many pieces there are, and
// of each the offset and the size. See "Storing Sparse Files" in GNU tar's manual.
func (e *extractEntry) readSparse() (*extractSparse, error) {
	records := e.hdr.PAXRecords
	if records[hiddenKey+"major"] != "1" || records[hiddenKey+"minor"] != "0" {
		return nil, core.Errorf(core.ErrUnsupported, "archive entry %q is sparse in another format than 1.0: restore it with GNU tar", e.name)
	}
	size, err := strconv.ParseUint(records[hiddenKey+"realsize"], 10, 63)
	if err != nil {
		return nil, e.badSparse("has no size")
	}
	lines := &sparseLines{body: e.body}
	count, err := lines.next()
	if err != nil {
		return nil, err
	}
	if count > extractExtents {
		return nil, e.badSparse("has too many pieces")
	}
	m := &extractSparse{size: int64(size)}
	end := int64(0)
	for range count {
		off, err := lines.next()
		if err != nil {
			return nil, err
		}
		n, err := lines.next()
		if err != nil {
			return nil, err
		}
		if off < end || n > m.size-off {
			return nil, e.badSparse("has pieces that overlap or lie behind its end")
		}
		end = off + n
		m.data = append(m.data, extent{off, n})
	}
	return m, e.fitSparse(m)
}

// fitSparse says whether the data that follows the map is what the map has.
func (e *extractEntry) fitSparse(m *extractSparse) error {
	left := e.body.left
	for _, d := range m.data {
		left -= d.size // cannot overflow: the pieces lie in a row in an int64
	}
	if left != 0 {
		return e.badSparse("does not fit its data")
	}
	return nil
}

func (e *extractEntry) badSparse(what string) error {
	return core.Errorf(core.ErrDamaged, "archive entry %q is a sparse file whose map %s", e.name, what)
}

// sparseLines reads decimal lines out of whole blocks.
type sparseLines struct {
	body  *extractStream
	block [blockSize]byte
	rest  []byte
}

func (l *sparseLines) next() (int64, error) {
	for n, digits := int64(0), 0; ; digits++ {
		if len(l.rest) == 0 {
			if err := l.body.fill(l.block[:]); err != nil {
				return 0, err
			}
			l.rest = l.block[:]
		}
		c := l.rest[0]
		l.rest = l.rest[1:]
		switch {
		case c == '\n' && digits > 0:
			return n, nil
		case c < '0' || c > '9' || n > (math.MaxInt64-9)/10:
			return 0, core.Errorf(core.ErrDamaged, "archive entry %q is a sparse file whose map is not made of numbers", l.body.name)
		}
		n = 10*n + int64(c-'0')
	}
}

// write puts the data where it belongs and leaves holes between.
func (m *extractSparse) write(x *extraction, e *extractEntry, f *os.File) error {
	c := x.newCopier(e, f)
	defer c.close()
	for _, d := range m.data {
		if err := c.hole(d.off); err != nil {
			return err
		}
		if err := c.copy(d.size); err != nil {
			return err
		}
	}
	if err := c.hole(m.size); err != nil {
		return err
	}
	if err := x.lost(e.rel, "size not set", f.Truncate(m.size)); err != nil {
		return err
	}
	return c.check()
}
