package archive

import (
	"context"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/offsite-backup/offsite/core"
)

// extractWindow is the most that a frame may ask a reader to hold, the least that
// RFC 8878, 3.1.1.1.2 recommends decoders to support. Ours ask for 1 MiB or less.
const extractWindow = 8 << 20

// Decompress returns the tar stream of a whole archive. Stages of decompression
// run in parallel; memory stays below a few windows of 8 MiB, and a frame that
// asks for a larger one is ErrDamaged, as is all that is no zstd stream or is cut
// inside a frame. An error of r is returned as it is. Frames of the table of
// contents are skipped, and io.EOF comes only after r's own.
//
// The caller closes the stream, which waits for a running read of r; r is left
// open. A read of r must end with ctx.
func Decompress(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	src := &extractSource{ctx: ctx, r: r}
	dec, err := zstd.NewReader(src,
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderConcurrency(0),
		zstd.WithDecoderMaxWindow(extractWindow))
	if err != nil {
		return nil, err
	}
	return &extractZstd{dec: dec, src: src}, nil
}

type extractZstd struct {
	dec *zstd.Decoder
	src *extractSource
	err error
}

func (z *extractZstd) Read(p []byte) (int, error) {
	if z.err != nil {
		return 0, z.err
	}
	n, err := z.dec.Read(p)
	if err != nil {
		z.err = z.translate(err)
	}
	return n, z.err
}

// translate tells an error of the source from one of its bytes. The decoder takes
// io.ErrUnexpectedEOF between frames for the end and replaces errors while it
// skips, so the source is asked first. It does not run any more by now.
func (z *extractZstd) translate(err error) error {
	switch {
	case z.src.err != nil && z.src.err != io.EOF:
		return z.src.err
	case err == io.EOF:
		return io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF):
		return core.Errorf(core.ErrDamaged, "the archive is cut short inside a zstd frame")
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return core.Errorf(core.ErrDamaged, "a zstd frame of the archive asks for more than %d MiB of memory", extractWindow>>20)
	}
	return core.Errorf(core.ErrDamaged, "the archive is no sound zstd stream: %w", err)
}

// Close ends the decoder's goroutines.
func (z *extractZstd) Close() error {
	z.dec.Close()
	z.err = core.ErrClosed
	return nil
}

// An extractSource reads until ctx ends and remembers how its reader ended.
type extractSource struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (s *extractSource) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.err = err
	return n, err
}
