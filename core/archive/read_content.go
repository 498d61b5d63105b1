package archive

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/offsite-backup/offsite/core"
)

// Open returns the content of a regular file; e is of this archive. A hard link
// has the content of the name that it shares it with. Its Read gives io.EOF only
// after the SHA-256 was compared: what is read before may still prove damaged.
// What is no regular file is ErrInvalid. It reads the frames that hold the file,
// as the caller goes on, and one table for a hard link. The caller closes it.
func (r *Reader) Open(ctx context.Context, e Entry) (io.ReadCloser, error) {
	if !e.Mode.IsRegular() {
		return nil, core.Errorf(core.ErrInvalid, "%q is no file", e.Name)
	}
	if e.Link != "" {
		first, err := r.Find(ctx, e.Link)
		if err != nil {
			return nil, orMissing(err, "hard link %q leads nowhere", e.Name)
		}
		if !first.Mode.IsRegular() || first.Link != "" || first.SHA256 != e.SHA256 || first.Size != e.Size {
			return nil, damaged("hard link %q leads to what is not its file", e.Name)
		}
		e = first
	}
	in, err := r.tar(ctx, e)
	if err != nil {
		return nil, err
	}
	t := tar.NewReader(in)
	h, err := t.Next()
	if err == nil && (h.Name != e.Name || h.Size != e.Size || h.Typeflag != tar.TypeReg) {
		err = damaged("where %q should be is %q", e.Name, h.Name)
	}
	if err != nil {
		return nil, errors.Join(in.because(err), in.Close())
	}
	return &content{stream: in, tar: t, entry: e, sum: sha256.New()}, nil
}

func orMissing(err error, format string, args ...any) error {
	if errors.Is(err, core.ErrNotFound) {
		return damaged(format, args...)
	}
	return err
}

// A content is the content of one file.
type content struct {
	stream *stream
	tar    *tar.Reader
	entry  Entry
	sum    hash.Hash
	err    error
}

// Read reads on, and compares the SHA-256 at the end.
func (c *content) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.tar.Read(p)
	c.sum.Write(p[:n])
	if err == io.EOF && hex.EncodeToString(c.sum.Sum(nil)) != c.entry.SHA256 {
		err = damaged("content of %q is not what was packed", c.entry.Name)
	}
	c.err = c.stream.because(err)
	return n, c.err
}

// Close ends reading.
func (c *content) Close() error {
	c.err = core.ErrClosed
	return c.stream.Close()
}

// Tar returns the tar stream from e's first header on, to the end of the archive;
// e is of this archive. It asks for the frames that hold e, and for what follows
// only when that is read. The caller closes it.
func (r *Reader) Tar(ctx context.Context, e Entry) (io.ReadCloser, error) {
	in, err := r.tar(ctx, e)
	if err != nil {
		return nil, err
	}
	return in, nil
}

func (r *Reader) tar(ctx context.Context, e Entry) (*stream, error) {
	if e.at.frame < 0 || e.at.packed <= 0 || e.at.packed > r.end-e.at.frame {
		return nil, core.Errorf(core.ErrInvalid, "%q is no entry of this archive", e.Name)
	}
	s := &stream{ranges: &ranges{ctx: ctx, r: r.r, off: e.at.frame, next: e.at.packed, end: r.end}}
	var err error
	s.zstd, err = zstd.NewReader(s.ranges, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8*frameSize))
	if err == nil {
		if _, err = io.CopyN(io.Discard, s.zstd, e.at.skip); err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		err = s.because(err)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// A stream is a part of the tar stream.
type stream struct {
	ranges *ranges
	zstd   *zstd.Decoder
}

// Read decompresses on.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.zstd.Read(p)
	return n, s.because(err)
}

// because is the error of reading the archive where there was one; another is its
// consequence, or damage.
func (s *stream) because(err error) error {
	switch {
	case err == nil || err == io.EOF:
		return err
	case s.ranges.err != nil && s.ranges.err != io.EOF:
		return s.ranges.err
	case core.KindOf(err) != "":
		return err
	}
	return damaged("%w", err)
}

// Close ends reading.
func (s *stream) Close() error {
	if s.zstd != nil {
		s.zstd.Close()
	}
	return s.ranges.Close()
}

// ranges reads an archive from an offset on, one range after the other. The first
// is what is needed for sure; each more is larger, up to maxRange, since who
// reads on is likely to go on.
type ranges struct {
	ctx  context.Context
	r    Ranger
	off  int64
	next int64 // size of the next range
	end  int64
	cur  io.ReadCloser // the range that is read, or nil
	left int64         // of cur
	err  error
}

// maxRange is the most that is asked for before it is known to be wanted.
const maxRange = 16 << 20

// Read reads on.
func (r *ranges) Read(p []byte) (n int, err error) {
	if r.err == nil && r.cur == nil {
		r.err = r.open()
	}
	if r.err != nil {
		return 0, r.err
	}
	n, r.err = r.cur.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	switch {
	case r.left == 0 && (r.err == nil || r.err == io.EOF):
		r.err = errors.Join(atEnd(r.cur), r.cur.Close())
		r.cur = nil
	case r.err == io.EOF:
		r.err = damaged("a range of the archive ended %d bytes too early", r.left)
	}
	return n, r.err
}

func (r *ranges) open() (err error) {
	if r.off == r.end {
		return io.EOF
	}
	n := min(r.next, r.end-r.off)
	if r.cur, err = r.r.Range(r.ctx, r.off, n); err != nil {
		r.cur = nil
		return err
	}
	r.off, r.left, r.next = r.off+n, n, min(max(2*n, frameSize), maxRange)
	return nil
}

// Close ends reading.
func (r *ranges) Close() (err error) {
	if r.cur != nil {
		err = r.cur.Close()
		r.cur = nil
	}
	r.err = core.ErrClosed
	return err
}
