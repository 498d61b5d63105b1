package fault

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"time"
)

// What an effect makes of a stream.
var (
	errReset = errors.New("reset")
	errCut   = errors.New("cut")
)

// A stream writes the bytes of one body, and does to them what a fault says.
type stream struct {
	link   *link
	hit    hit
	effect effect
	from   *net.TCPConn // where the bytes come from
	to     io.Writer
	count  *atomic.Int64 // of what was written; may be nil
	pos    int64
	begin  time.Time
}

// smallBuffer is what the system may keep of a slow body, so that its sender feels
// how slow it is. Less than a segment of the loopback interface, which is nearly 64
// KiB, would leave the pace to the timers of TCP.
const smallBuffer = 64 << 10

// ticks is how many pieces of a slow stream pass in a second.
const ticks = 50

// most is how much is read at once.
func (s *stream) most() int {
	if s.effect.do != slow {
		return 32 << 10
	}
	_ = s.from.SetReadBuffer(smallBuffer) // where that fails, more waits in the system
	return int(s.piece())
}

// piece is how much passes at once of what is slow.
func (s *stream) piece() int64 { return max(1, s.effect.rate/ticks) }

// fit turns an offset from the end into one from the start.
func (s *stream) fit(length int64) {
	if s.effect.at < 0 && length >= 0 {
		s.effect.at = max(0, s.effect.at+length)
	}
}

func (s *stream) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := int64(len(p))
		if ahead := s.effect.at - s.pos; s.effect.do != nothing && ahead > 0 {
			n = min(n, ahead)
		} else if s.effect.do != nothing && ahead == 0 {
			if err := s.happen(p); err != nil {
				return written, err
			}
		}
		if s.effect.do == slow {
			n = min(n, s.piece())
			if err := s.pace(n); err != nil {
				return written, err
			}
		}
		m, err := s.to.Write(p[:n])
		s.pos += int64(m)
		written += m
		if s.count != nil {
			s.count.Add(int64(m))
		}
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}

// happen does what is due before the first byte of p.
func (s *stream) happen(p []byte) error {
	s.hit.fire()
	do := s.effect.do
	if do != slow {
		s.effect.do = nothing
	}
	switch do {
	case reset:
		return errReset
	case cut:
		return errCut
	case end:
		s.count = nil
		if c, ok := s.to.(*chunks); ok {
			return c.end()
		}
		return errCut
	case stall:
		return s.link.wait(0, s.hit.rule.release())
	case flip:
		p[0] ^= 1
	case slow:
		s.begin = time.Now()
	}
	return nil
}

// pace waits until n more bytes may pass.
func (s *stream) pace(n int64) error {
	due := s.begin.Add(time.Duration(float64(s.pos+n) / float64(s.effect.rate) * float64(time.Second)))
	if d := time.Until(due); d > 0 {
		return s.link.wait(d, nil)
	}
	return nil
}

// A body is what follows a head.
type body struct {
	src     *bufio.Reader
	length  int64 // -1 means until the connection ends
	chunked bool  // in chunks, whatever length says
	most    int   // bytes that are read at once
}

// each gives the bytes of a body to payload and their framing to frame, as they
// come. Payload may change them.
func (b body) each(frame, payload io.Writer) error {
	buf := make([]byte, max(b.most, 1))
	if !b.chunked {
		return b.some(payload, buf, b.length)
	}
	for {
		line, size, err := b.chunk()
		if err != nil {
			return err
		}
		if _, err := frame.Write(line); err != nil {
			return err
		}
		if size == 0 {
			return b.trailer(frame)
		}
		if err := b.some(payload, buf, size); err != nil {
			return err
		}
		if err := b.some(frame, buf, int64(len("\r\n"))); err != nil {
			return err
		}
	}
}

// some passes n bytes, or all there are.
func (b body) some(to io.Writer, buf []byte, n int64) error {
	for n != 0 {
		piece := buf
		if n > 0 {
			piece = buf[:min(int64(len(buf)), n)]
		}
		got, err := b.src.Read(piece)
		if got > 0 {
			if _, err := to.Write(piece[:got]); err != nil {
				return err
			}
			n -= int64(got)
		}
		if err == io.EOF && n < 0 {
			return nil
		}
		if err != nil && n != 0 {
			return fmt.Errorf("a body ends too soon: %w", err)
		}
	}
	return nil
}

// chunk reads the line before a chunk.
func (b body) chunk() (line []byte, size int64, err error) {
	line, err = b.src.ReadBytes('\n')
	if err != nil {
		return nil, 0, err
	}
	word, _, _ := bytes.Cut(line, []byte(";"))
	size, err = strconv.ParseInt(string(bytes.TrimSpace(word)), 16, 64)
	if err == nil && size < 0 {
		err = errors.New("a chunk of less than nothing")
	}
	return line, size, err
}

func (b body) trailer(frame io.Writer) error {
	for {
		line, err := b.src.ReadBytes('\n')
		if err != nil {
			return err
		}
		if _, err := frame.Write(line); err != nil {
			return err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			return nil
		}
	}
}
