// Package transfer moves archives in parts: it plans them, sends them in
// parallel, and goes on where an earlier try ended. It is the one part loop of
// the product: no agent has its own.
package transfer

import (
	"context"
	"hash"
	"io"
	"math"

	"github.com/minio/crc64nvme"
	"golang.org/x/sync/errgroup"

	"github.com/offsite-backup/offsite/core"
)

// A Part is a piece of an archive, and what identifies its bytes.
type Part struct {
	Index  int   // from 0
	Offset int64 // in the archive
	Size   int64 // bytes; more than 0
	CRC64  core.CRC64
}

// Limits are what a place allows, and what suits it.
type Limits struct {
	PartSize int64 // bytes in a part where the archive's size does not ask for more
	MaxPart  int64 // most bytes in a part; 0 means no limit
	MaxParts int   // most parts of an archive; 0 means no limit
	Workers  int   // parts in flight at once; at least 1
}

// roundTo keeps planned part sizes readable and aligned.
const roundTo = 1 << 20

// Plan returns the part size for an archive of about size bytes, 0 where nothing
// is known. A tenth of the parts stays in reserve, for one that outgrows it.
func (l Limits) Plan(size int64) int64 {
	part := l.PartSize
	if l.MaxParts > 0 && size > 0 {
		need := (size-1)/int64(l.usualParts()) + 1
		part = max(part, (need-1)/roundTo*roundTo+roundTo)
	}
	if l.MaxPart > 0 {
		part = min(part, l.MaxPart)
	}
	return part
}

func (l Limits) usualParts() int { return l.MaxParts - l.reserve() }

func (l Limits) reserve() int { return min((l.MaxParts+9)/10, l.MaxParts-1) }

// SizeOf is the size of the part with an index, where Plan gave part. All parts
// are equal, as some places demand, until the reserve is reached; there each of
// ten groups has parts four times as large as the one before it. So an archive
// may be a thousand times as large as planned, as far as MaxPart lets it.
func (l Limits) SizeOf(part int64, index int) int64 {
	if l.MaxParts == 0 || index < l.usualParts() {
		return part
	}
	most := l.MaxPart
	if most == 0 {
		most = math.MaxInt64
	}
	left := l.MaxParts - index
	for range min(10, 10-(left-1)*10/max(1, l.reserve())) {
		if part > most/4 {
			return most
		}
		part *= 4
	}
	return part
}

// OffsetOf is where the part with an index begins, where Plan gave part.
func (l Limits) OffsetOf(part int64, index int) (off int64) {
	equal := index
	if l.MaxParts > 0 {
		equal = min(index, l.usualParts())
	}
	off = int64(equal) * part
	for i := equal; i < index; i++ {
		off += l.SizeOf(part, i)
	}
	return off
}

// Send is one archive on its way.
type Send struct {
	Source   func(context.Context) io.ReaderAt // as core.Source.Reader
	Limits   Limits
	PartSize int64                                                // as Limits.Plan gave it
	Have     []Part                                               // what the place holds of it from an earlier try; Offset is 0 where it does not tell
	Put      func(context.Context, Part, *io.SectionReader) error // sends one part; called concurrently
	Done     func(bytes int64)                                    // told of each part that the place holds; called concurrently
}

// Run reads the source in order to its end, computes the checksum of each part,
// and sends those that the place does not hold. It returns all parts in order. It
// keeps no bytes: a part is read once for its checksum and once to be sent.
func (s Send) Run(ctx context.Context) ([]Part, error) {
	have := make(map[int]Part, len(s.Have))
	for _, p := range s.Have {
		have[p.Index] = p
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, s.Limits.Workers) + 1) // and the reader
	var parts []Part
	group.Go(func() error {
		return s.each(ctx, func(p Part) error {
			if s.Limits.MaxParts > 0 && p.Index >= s.Limits.MaxParts {
				return core.Errorf(core.ErrUnsupported, "the archive is more than the %d bytes that the place takes in %d parts", p.Offset, p.Index)
			}
			parts = append(parts, p)
			if h, ok := have[p.Index]; ok && h.same(p) {
				s.Done(p.Size)
				return nil
			}
			group.Go(func() error { return s.put(ctx, p) })
			return nil
		})
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return parts, nil
}

// same says whether a part that a place holds is p.
func (h Part) same(p Part) bool {
	return h.Size == p.Size && h.CRC64 == p.CRC64 && (h.Offset == p.Offset || h.Offset == 0)
}

func (s Send) put(ctx context.Context, p Part) error {
	if err := s.Put(ctx, p, io.NewSectionReader(s.Source(ctx), p.Offset, p.Size)); err != nil {
		return err
	}
	s.Done(p.Size)
	return nil
}

// each calls f for each part of the source in order.
func (s Send) each(ctx context.Context, f func(Part) error) error {
	source, crc := s.Source(ctx), crc64nvme.New()
	buf := make([]byte, 256<<10)
	for p := (Part{}); ; p = (Part{Index: p.Index + 1, Offset: p.Offset + p.Size}) {
		size, err := Sum(io.NewSectionReader(source, p.Offset, s.Limits.SizeOf(s.PartSize, p.Index)), crc, buf)
		if err != nil {
			return err
		}
		if size == 0 || ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p.Size, p.CRC64 = size, core.CRC64(crc.Sum64())
		if err := f(p); err != nil {
			return err
		}
	}
}

// Sum sets crc to the checksum of r's bytes and returns their number.
func Sum(r io.Reader, crc hash.Hash64, buf []byte) (int64, error) {
	crc.Reset()
	return io.CopyBuffer(crc, struct{ io.Reader }{r}, buf)
}

// Whole is the size and the checksum of all parts.
func Whole(parts []Part) (size int64, sum core.CRC64) {
	for _, p := range parts {
		size, sum = size+p.Size, sum.Then(p.CRC64, p.Size)
	}
	return size, sum
}
