package sftp

import (
	"context"
	"errors"
	"io"
)

const (
	piece = 1 << 20 // bytes that are asked for at once, in packets
	ahead = 2       // pieces of one file on their way: what fills a channel
)

// Stream reads pieces ahead of the caller.
func (f *file) Stream(off, n int64) io.ReadCloser {
	s := &stream{file: f, off: off, end: off + n}
	s.ctx, s.cancel = context.WithCancelCause(f.ctx)
	return s
}

// A stream is a range on its way. It is for one goroutine.
type stream struct {
	file     *file
	ctx      context.Context
	cancel   context.CancelCauseFunc
	off, end int64       // of what was not asked for yet
	asked    []*transfer // in order
	head     *transfer   // that is being read
	rest     []byte      // of head
	err      error       // what every further Read gives
}

// A transfer is a piece on its way.
type transfer struct {
	buffer []byte
	n      int
	err    error
	done   chan struct{} // before that nobody looks at the rest
}

func (s *stream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 && s.err == nil {
		s.err = s.next()
	}
	if len(s.rest) == 0 {
		return 0, s.err
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// next waits for a piece. Its buffer is that of the one before it by then.
func (s *stream) next() error {
	var free []byte
	if s.head != nil {
		free, s.head = s.head.buffer, nil
	}
	for len(s.asked) < ahead && s.off < s.end {
		s.ask(free)
		free = nil
	}
	if len(s.asked) == 0 {
		return io.EOF
	}
	s.head, s.asked = s.asked[0], s.asked[1:]
	<-s.head.done
	s.rest = s.head.buffer[:s.head.n]
	if errors.Is(s.head.err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return s.head.err
}

// ask asks for the next piece.
func (s *stream) ask(buffer []byte) {
	n := min(piece, s.end-s.off)
	if int64(len(buffer)) < n {
		buffer = make([]byte, n)
	}
	a, off := &transfer{buffer: buffer[:n], done: make(chan struct{})}, s.off
	s.off += n
	s.asked = append(s.asked, a)
	go func() {
		defer close(a.done)
		a.n, a.err = s.file.readAt(s.ctx, a.buffer, off)
	}()
}

var errLeft = errors.New("the rest is not wanted")

// Close waits for what is on its way, not for long.
func (s *stream) Close() error {
	s.cancel(errLeft)
	for _, a := range s.asked {
		<-a.done
	}
	s.asked, s.rest, s.err = nil, nil, errLeft
	return nil
}
