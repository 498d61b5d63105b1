package fault

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// dialWithin is for a server on the same machine.
const dialWithin = 10 * time.Second

// errGone ends what waits on a connection that was closed.
var errGone = errors.New("the connection was closed")

// A link is one client connection and the one to the server that belongs to it.
type link struct {
	proxy  *Proxy
	number int
	tcp    *net.TCPConn // the client's
	client net.Conn     // the same, or TLS over it
	in     *bufio.Reader
	gone   chan struct{} // closed with the link

	mu       sync.Mutex
	closed   bool
	server   *net.TCPConn // nil until something is asked
	serverIn *bufio.Reader
}

func newLink(p *Proxy, conn *net.TCPConn, number int) *link {
	l := &link{proxy: p, number: number, tcp: conn, client: conn, gone: make(chan struct{})}
	if p.options.TLS != nil {
		l.client = tls.Server(conn, p.options.TLS)
	}
	l.in = bufio.NewReader(l.client)
	return l
}

// close ends both connections, once; those that read and write on them get errors.
// With rst the client sees a reset.
func (l *link) close(rst bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	close(l.gone)
	if rst {
		_ = l.tcp.SetLinger(0) // where that fails it is closed in order, and fails too
	}
	_ = l.tcp.Close() // not needed any more
	if l.server != nil {
		_ = l.server.Close() // not needed any more
	}
}

// dial connects to the server, unless that was done.
func (l *link) dial() error {
	if l.server != nil {
		return nil
	}
	d := net.Dialer{Timeout: dialWithin}
	conn, err := d.DialContext(l.proxy.life, "tcp", l.proxy.upstream())
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.Join(errGone, conn.Close())
	}
	l.server = conn.(*net.TCPConn)
	l.serverIn = bufio.NewReader(conn)
	return nil
}

// wait waits for d, or until done or the link's end.
func (l *link) wait(d time.Duration, done <-chan struct{}) error {
	var over <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
	case <-done:
	case <-l.gone:
		return errGone
	}
	return nil
}

func (l *link) serve() {
	h := l.proxy.pick(Request{Conn: l.number}, true)
	switch h.first {
	case reset:
		h.fire()
		l.close(true)
		return
	case stall:
		h.fire()
		if l.wait(0, h.rule.release()) != nil {
			return
		}
	}
	if l.proxy.options.Opaque {
		l.opaque()
		return
	}
	for l.exchange() {
	}
}
