package archive

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math"

	"github.com/klauspost/compress/zstd"
	"github.com/offsite-backup/offsite/core"
)

// frameSize is how much of the tar stream one zstd frame holds: what has to be
// fetched and decompressed, half of it in vain, to read one small file, against
// what compression gains by seeing more at once.
const frameSize = 1 << 20

// Skippable frames (RFC 8878, 3.1.2).
const (
	skippableHeader = 8
	skippableTOC    = 0x184D2A5B // tables and the index
	skippableSeek   = 0x184D2A5E // the seek table
)

// The seek table's footer (zstd, contrib/seekable_format, 0.1.1).
const (
	seekableMagic = 0x8F92EAB1
	maxSeekable   = 0x8000000 // frames
)

// A frame is a piece of the tar stream on its way to be compressed and written.
// It belongs to one goroutine at a time.
type frame struct {
	content []byte
	packed  []byte
	ready   chan struct{} // told when packed is set
	begins  []int64       // where in content entries begin
	ends    []Entry       // those whose last byte is in content
}

// newEncoder returns an encoder that several goroutines may use at once with
// EncodeAll.
//
// The level is the default, about zstd -3: source code comes out at 22 %. The
// fastest level needs two thirds of the time and gives 24 %, the next one twice
// the time for 21 %: where bytes go over a network and stay for months, the
// default is the best bargain. The window is the frame's size, since no frame has
// more to look back on.
func newEncoder(workers int) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderConcurrency(workers),
		zstd.WithWindowSize(frameSize),
		zstd.WithLowerEncoderMem(true),
	)
}

// A frameWriter writes the compressed stream: data frames in order, a table
// whenever one is full, and at the end index and seek table.
type frameWriter struct {
	w       io.Writer
	enc     *zstd.Encoder
	off     int64
	seek    []byte  // the seek table's entries so far
	open    []place // of entries that began and did not end
	table   []Entry // those of the table that is not full
	rows    []row   // the tables written
	entries int64
}

// run writes the frames that come, each when it is compressed.
func (fw *frameWriter) run(ctx context.Context, frames <-chan *frame, free chan<- *frame) error {
	for f := range frames {
		select {
		case <-f.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := fw.data(f); err != nil {
			return err
		}
		free <- f
	}
	return nil
}

func (fw *frameWriter) data(f *frame) error {
	begin := fw.off
	if err := fw.write(f.packed, len(f.content)); err != nil {
		return err
	}
	end := fw.off
	for _, skip := range f.begins {
		fw.open = append(fw.open, place{frame: begin, skip: skip})
	}
	for i, e := range f.ends {
		e.at = fw.open[i]
		e.at.packed = end - e.at.frame
		fw.table = append(fw.table, e)
		if len(fw.table) == tableEntries {
			// Its place is after this frame, wherever in it the table got full.
			if err := fw.flush(); err != nil {
				return err
			}
		}
	}
	fw.open = append(fw.open[:0], fw.open[len(f.ends):]...)
	return nil
}

// write writes one whole frame and notes it in the seek table.
func (fw *frameWriter) write(b []byte, content int) error {
	if int64(len(b)) > math.MaxUint32 || len(fw.seek)/8 >= maxSeekable-1 {
		return core.Errorf(core.ErrUnsupported, "the archive has more than the seekable format can hold")
	}
	n, err := fw.w.Write(b)
	if err == nil && n != len(b) {
		err = io.ErrShortWrite
	}
	fw.off += int64(n)
	fw.seek = binary.LittleEndian.AppendUint32(fw.seek, uint32(len(b)))
	fw.seek = binary.LittleEndian.AppendUint32(fw.seek, uint32(content))
	return err
}

// flush writes the table that is begun.
func (fw *frameWriter) flush() error {
	if len(fw.table) == 0 {
		return nil
	}
	b := fw.skippable(encodeTable(fw.table))
	fw.rows = append(fw.rows, row{first: fw.table[0].Name, off: fw.off, size: int64(len(b)), sum: sha256.Sum256(b)})
	fw.entries += int64(len(fw.table))
	fw.table = fw.table[:0]
	return fw.write(b, 0)
}

// finish writes what comes after the data.
func (fw *frameWriter) finish() (core.TOC, error) {
	if err := fw.flush(); err != nil {
		return core.TOC{}, err
	}
	b := fw.skippable(encodeIndex(fw.rows, fw.entries))
	sum := sha256.Sum256(b)
	toc := core.TOC{Offset: fw.off, Size: int64(len(b)), SHA256: hex.EncodeToString(sum[:])}
	if err := fw.write(b, 0); err != nil {
		return core.TOC{}, err
	}
	frames := len(fw.seek) / 8
	table := binary.LittleEndian.AppendUint32(nil, skippableSeek)
	table = binary.LittleEndian.AppendUint32(table, uint32(len(fw.seek)+9))
	table = append(table, fw.seek...)
	table = binary.LittleEndian.AppendUint32(table, uint32(frames))
	table = append(table, 0) // no checksums: the frames have their own
	table = binary.LittleEndian.AppendUint32(table, seekableMagic)
	return toc, fw.write(table, 0)
}

// skippable wraps a part of the table of contents, compressed, in a frame that
// other tools skip.
func (fw *frameWriter) skippable(content []byte) []byte {
	b := make([]byte, skippableHeader, skippableHeader+len(content)/2)
	b = fw.enc.EncodeAll(content, b)
	binary.LittleEndian.PutUint32(b, skippableTOC)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-skippableHeader))
	return b
}
