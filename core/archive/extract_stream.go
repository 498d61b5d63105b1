package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"

	"github.com/offsite-backup/offsite/core"
)

// extractHeaders is the most bytes of headers that one entry may have.
// archive/tar takes 1 MiB of each kind.
const extractHeaders = 4 << 20

// An extractStream goes from entry to entry of a tar stream.
//
// It collects the headers of an entry and has archive/tar read them. The stream
// itself it walks alone, because archive/tar takes one that is cut between two
// entries for a whole one, and gives the holes of a sparse file as zeros.
type extractStream struct {
	ctx     context.Context
	r       io.Reader
	block   [blockSize]byte
	headers bytes.Buffer
	name    string // of the entry at hand, for errors
	left    int64  // bytes of its body that were not read
	pad     int64  // bytes behind its body, up to a whole block
}

func newExtractStream(ctx context.Context, r io.Reader) *extractStream {
	return &extractStream{ctx: ctx, r: bufio.NewReaderSize(&extractSource{ctx: ctx, r: r}, 64<<10)}
}

// next skips what is left of an entry and returns the header of the following
// one. io.EOF comes only after the end mark and the stream's own end.
func (s *extractStream) next() (*tar.Header, error) {
	if err := s.skip(); err != nil {
		return nil, err
	}
	s.headers.Reset()
	for {
		if err := s.header(); err != nil {
			return nil, err
		}
		if s.block == [blockSize]byte{} && s.headers.Len() == 0 {
			return nil, s.end()
		}
		global := s.block[156] == tar.TypeXGlobalHeader
		if !global {
			s.headers.Write(s.block[:])
		}
		switch s.block[156] {
		case tar.TypeXHeader, tar.TypeXGlobalHeader, tar.TypeGNULongName, tar.TypeGNULongLink:
			if err := s.extension(global); err != nil {
				return nil, err
			}
		default:
			return s.parse()
		}
	}
}

func (s *extractStream) skip() error {
	for _, n := range []int64{s.left, s.pad} {
		if _, err := io.CopyN(io.Discard, s.r, n); err != nil {
			return s.broken(err)
		}
	}
	s.left, s.pad = 0, 0
	return nil
}

func (s *extractStream) header() error {
	_, err := io.ReadFull(s.r, s.block[:])
	if err == io.EOF && s.headers.Len() == 0 {
		return core.Errorf(core.ErrDamaged, "the archive is cut short: it ends behind %q without the mark of its end", s.name)
	}
	return s.broken(err)
}

// extension reads what follows the header of a header: records, or a long name.
func (s *extractStream) extension(drop bool) error {
	size, err := strconv.ParseUint(string(bytes.Trim(s.block[124:136], " \x00")), 8, 32)
	if err != nil || s.headers.Len()+int(size) > extractHeaders {
		return core.Errorf(core.ErrDamaged, "the archive has a header behind %q that is too large or no header", s.name)
	}
	padded := int64(size) + padding(int64(size))
	if drop {
		_, err := io.CopyN(io.Discard, s.r, padded)
		return s.broken(err)
	}
	start := s.headers.Len()
	if _, err := io.CopyN(&s.headers, s.r, padded); err != nil {
		return s.broken(err)
	}
	if s.block[156] == tar.TypeXHeader {
		hideSparse(s.headers.Bytes()[start:][:size])
	}
	return nil
}

const (
	sparseKey = "GNU.sparse."
	hiddenKey = "our.sparse."
)

// hideSparse gives the records of a sparse file keys that archive/tar does not
// know. What is not understood here is not by archive/tar either.
func hideSparse(records []byte) {
	for len(records) > 0 {
		digits, rest, _ := bytes.Cut(records, []byte(" "))
		n, err := strconv.Atoi(string(digits))
		if err != nil || n <= 0 || n > len(records) {
			return
		}
		if bytes.HasPrefix(rest, []byte(sparseKey)) {
			copy(rest, hiddenKey)
		}
		records = records[n:]
	}
}

// parse has archive/tar read the headers, and sets up the body.
func (s *extractStream) parse() (*tar.Header, error) {
	if s.block[156] == tar.TypeGNUSparse {
		return nil, core.Errorf(core.ErrUnsupported, "the archive has a sparse file in the old GNU format behind %q: restore it with GNU tar", s.name)
	}
	hdr, err := tar.NewReader(bytes.NewReader(s.headers.Bytes())).Next()
	if err != nil {
		return nil, core.Errorf(core.ErrDamaged, "the archive has no sound header behind %q: %w", s.name, err)
	}
	if name := hdr.PAXRecords[hiddenKey+"name"]; name != "" {
		hdr.Name = name
	}
	s.name = hdr.Name
	switch hdr.Typeflag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo:
		// These have no body, whatever their size says.
	default:
		s.left, s.pad = hdr.Size, padding(hdr.Size)
	}
	return hdr, nil
}

// end has seen a block of zeros: a second one must follow, and nothing else up to
// the stream's end.
func (s *extractStream) end() error {
	if _, err := io.ReadFull(s.r, s.block[:]); err != nil {
		return s.broken(err)
	}
	if s.block != [blockSize]byte{} {
		return core.Errorf(core.ErrDamaged, "the archive has half a mark of its end behind %q", s.name)
	}
	for {
		n, err := s.r.Read(s.block[:])
		if len(bytes.Trim(s.block[:n], "\x00")) > 0 {
			return core.Errorf(core.ErrDamaged, "the archive goes on behind the mark of its end")
		}
		if err == io.EOF {
			return io.EOF
		}
		if err != nil {
			return s.broken(err)
		}
	}
}

// Read reads the body of the entry at hand.
func (s *extractStream) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	if s.left == 0 {
		err = nil // the next header will meet it again
	}
	return n, s.broken(err)
}

// fill reads bytes of the body that must be there.
func (s *extractStream) fill(p []byte) error {
	if _, err := io.ReadFull(s, p); err != nil && (err == io.EOF || err == io.ErrUnexpectedEOF) {
		return core.Errorf(core.ErrDamaged, "archive entry %q is shorter than it says", s.name)
	} else if err != nil {
		return err
	}
	return nil
}

// broken says where the stream ended, or returns its error.
func (s *extractStream) broken(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) && core.KindOf(err) == "" {
		return core.Errorf(core.ErrDamaged, "the archive is cut short at or behind %q", s.name)
	}
	return err
}
