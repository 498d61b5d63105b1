package fault

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// opaque passes bytes both ways until both have ended.
func (l *link) opaque() {
	h := l.proxy.pick(Request{Conn: l.number, Length: -1}, false)
	if !l.begin(h) {
		return
	}
	var all sync.WaitGroup
	all.Go(func() {
		s := &stream{link: l, hit: h, effect: h.up, from: l.tcp, to: l.server}
		l.way(s, body{src: l.in, length: -1, most: s.most()}, l.server, &l.proxy.up)
	})
	all.Go(func() {
		s := &stream{link: l, hit: h, effect: h.down, from: l.server, to: l.client}
		l.way(s, body{src: l.serverIn, length: -1, most: s.most()}, l.client, &l.proxy.down)
	})
	all.Wait()
}

// begin connects to the server, unless the fault is that it does not.
func (l *link) begin(h hit) bool {
	if h.delay > 0 {
		h.fire()
		if l.wait(h.delay, nil) != nil {
			return false
		}
	}
	if h.first == reset {
		h.fire()
		l.close(true)
		return false
	}
	if l.dial() != nil {
		l.close(true)
		return false
	}
	return true
}

// way passes one direction, and tells its end on.
func (l *link) way(s *stream, b body, to net.Conn, count *atomic.Int64) {
	s.count = count
	err := l.across(s, b)
	switch {
	case errors.Is(err, errCut):
		_ = closeWrite(to)                // it may be gone
		_, _ = io.Copy(io.Discard, b.src) // so that the other way goes on and nothing is reset
	case err != nil:
		l.close(true)
	default:
		_ = closeWrite(to) // it may be gone
	}
}

// across passes the bytes of one direction, over as long a way as there is.
func (l *link) across(s *stream, b body) error {
	distance := l.proxy.options.RoundTrip / 2
	if distance == 0 {
		return b.each(io.Discard, s)
	}
	f := newFar(l, s.to, distance)
	s.to = f
	go f.deliver() // until end
	defer f.end()
	return b.each(io.Discard, s)
}

// closeWrite says that no more bytes come.
func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
