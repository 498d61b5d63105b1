package archive

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/offsite-backup/offsite/core"
)

// Bounds on what a damaged or hostile archive may ask for.
const (
	maxTable = 64 << 20  // bytes of a table, compressed or not: 1,024 names and links of the longest
	maxIndex = 256 << 20 // bytes of the index, compressed or not: room for 2,000 million entries
	maxSkip  = frameSize // no frame has more content
)

// unwrap takes the content out of a frame that frameWriter.skippable made. most
// bounds its size.
func unwrap(frame []byte, most uint64) ([]byte, error) {
	if len(frame) < skippableHeader || binary.LittleEndian.Uint32(frame) != skippableTOC ||
		uint64(binary.LittleEndian.Uint32(frame[4:])) != uint64(len(frame)-skippableHeader) {
		return nil, damaged("no frame of a table of contents")
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(most))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	content, err := d.DecodeAll(frame[skippableHeader:], nil)
	if err != nil {
		return nil, damaged("table of contents: %w", err)
	}
	return content, nil
}

func damaged(format string, args ...any) error { return core.Errorf(core.ErrDamaged, format, args...) }

// A tableReader reads what toc.go writes. After the first thing that is wrong it
// reads zeros, and bad says what that was.
type tableReader struct {
	b    []byte
	bad  string
	prev string // the last name
}

func (t *tableReader) fail(what string) {
	if t.bad == "" {
		t.bad = what
	}
	t.b = nil
}

// signature checks how the content begins.
func (t *tableReader) signature(want string) error {
	version := len(want) - 2
	if len(t.b) < len(want) || string(t.b[:version]) != want[:version] {
		return damaged("table of contents: it does not begin with %q", want)
	}
	if string(t.b[:len(want)]) != want {
		return core.Errorf(core.ErrUnsupported, "the table of contents is of a newer version: use a newer offsite")
	}
	t.b = t.b[len(want):]
	return nil
}

func (t *tableReader) uint(most uint64) uint64 {
	v, n := binary.Uvarint(t.b)
	if n <= 0 || v > most {
		t.fail("a number is out of range")
		return 0
	}
	t.b = t.b[n:]
	return v
}

func (t *tableReader) int() int64 {
	v, n := binary.Varint(t.b)
	if n <= 0 {
		t.fail("a number is out of range")
		return 0
	}
	t.b = t.b[n:]
	return v
}

func (t *tableReader) bytes(n uint64) []byte {
	if n > uint64(len(t.b)) {
		t.fail("it ends too early")
		return make([]byte, min(n, sha256.Size))
	}
	b := t.b[:n]
	t.b = t.b[n:]
	return b
}

// name reads a name, which must follow the one before.
func (t *tableReader) name() string {
	shared := t.uint(uint64(len(t.prev)))
	name := t.prev[:shared] + string(t.bytes(t.uint(maxName)))
	switch {
	case t.bad != "":
	case len(name) > maxName || !validName(name):
		t.fail("a name is none")
	case t.prev != "" && compareNames(t.prev, name) >= 0:
		t.fail("names are not in order")
	}
	t.prev = name
	return name
}

// end says whether everything was right and read.
func (t *tableReader) end(what string) error {
	if t.bad == "" && len(t.b) > 0 {
		t.bad = "it goes on after its end"
	}
	if t.bad != "" {
		return damaged("%s of the table of contents: %s", what, t.bad)
	}
	return nil
}

// decodeTable reads what encodeTable wrote. Its entries lie before end.
func decodeTable(content []byte, end int64) ([]Entry, error) {
	t := &tableReader{b: content}
	if err := t.signature(tableSignature); err != nil {
		return nil, err
	}
	n := t.uint(tableEntries)
	entries := make([]Entry, 0, n)
	var frame int64
	for range n {
		e := t.entry(frame, end)
		if t.bad != "" {
			break
		}
		frame = e.at.frame
		entries = append(entries, e)
	}
	return entries, t.end("a table")
}

func (t *tableReader) entry(frame, end int64) Entry {
	e := Entry{Name: t.name()}
	var known bool
	if e.Mode, known = fileMode(uint32(t.uint(math.MaxUint32))); !known {
		t.fail("a type of file is none")
	}
	e.UID, e.GID = int(t.uint(math.MaxInt32*2+1)), int(t.uint(math.MaxInt32*2+1))
	sec := t.int()
	e.ModTime = time.Unix(sec, int64(t.uint(1e9-1))).UTC()
	e.Size = int64(t.uint(math.MaxInt64))
	e.Link = string(t.bytes(t.uint(maxName)))
	if e.Mode.IsRegular() {
		e.SHA256 = hex.EncodeToString(t.bytes(sha256.Size))
	}
	e.at.frame = frame + int64(t.uint(uint64(end-frame)))
	e.at.skip = int64(t.uint(maxSkip))
	e.at.packed = int64(t.uint(uint64(end - e.at.frame)))
	if e.Mode.IsRegular() && e.Link != "" && !validName(e.Link) || strings.IndexByte(e.Link, 0) >= 0 {
		t.fail("a link is none")
	}
	return e
}

// decodeIndex reads what encodeIndex wrote: the rows of tables before end, and
// how many entries they have.
func decodeIndex(content []byte, end int64) (rows []row, entries int64, err error) {
	t := &tableReader{b: content}
	if err := t.signature(indexSignature); err != nil {
		return nil, 0, err
	}
	entries = int64(t.uint(math.MaxInt64))
	n := t.uint(uint64(len(t.b)) / sha256.Size)
	rows = make([]row, 0, n)
	var off int64
	for range n {
		r := row{first: t.name()}
		r.off = off + int64(t.uint(uint64(end-off)))
		r.size = int64(t.uint(min(maxTable, uint64(end-r.off))))
		copy(r.sum[:], t.bytes(sha256.Size))
		if t.bad != "" {
			break
		}
		off = r.off
		rows = append(rows, r)
	}
	if t.bad == "" && (entries > int64(n)*tableEntries || n > 0 && entries <= int64(n-1)*tableEntries) {
		t.fail("its tables cannot have so many entries")
	}
	return rows, entries, t.end("the index")
}
