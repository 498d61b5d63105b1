package sftp

import (
	"context"
	"errors"
	"io"
)

// What a stream has on its way. Two of them fill a channel.
const (
	piece = 256 << 10 // bytes that are asked for at once, in packets
	ahead = 4         // pieces
)

// Stream reads pieces ahead of the caller.
func (f *file) Stream(off, n int64) io.ReadCloser {
	return &stream{file: f, off: off, end: off + n}
}

// A stream is a range on its way. It is for one goroutine. What it asked for ends with
// the connection and not with the context, unless somebody waits for it: a range that
// nobody wants any more is no reason to end a connection that others use.
type stream struct {
	file     *file
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
	first := s.asked[0]
	select {
	case <-first.done:
	case <-s.file.ctx.Done():
		c := s.file.conn
		c.tasks.Go(func() { c.overdue(&operation{s.file.ctx, first.done}) })
		return context.Cause(s.file.ctx)
	}
	s.head, s.asked = first, s.asked[1:]
	s.rest = first.buffer[:first.n]
	if errors.Is(first.err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return first.err
}

// ask asks for the next piece.
func (s *stream) ask(buffer []byte) {
	n := min(piece, s.end-s.off)
	if int64(len(buffer)) < n {
		buffer = make([]byte, n)
	}
	a, off, ctx := &transfer{buffer: buffer[:n], done: make(chan struct{})}, s.off, context.WithoutCancel(s.file.ctx)
	s.off += n
	s.asked = append(s.asked, a)
	s.file.conn.tasks.Go(func() {
		defer close(a.done)
		a.n, a.err = s.file.readAt(ctx, a.buffer, off)
	})
}

var errLeft = errors.New("the rest is not wanted")

// Close leaves what is on its way.
func (s *stream) Close() error {
	s.asked, s.rest, s.err = nil, nil, errLeft
	return nil
}
