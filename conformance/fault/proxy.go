package fault

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what a Proxy stands before.
type Options struct {
	Upstream string      // host:port of the server, plain; see Proxy.Forward
	Opaque   bool        // it does not speak HTTP
	TLS      *tls.Config // towards the client; nil means plain. See NewIdentity.

	// RoundTrip is how far away the server of an opaque proxy is: each byte takes half
	// of it, and many are on their way at once.
	RoundTrip time.Duration
}

// A Proxy passes connections on to one server. It is safe for concurrent use.
type Proxy struct {
	options  Options
	listener net.Listener
	life     context.Context
	end      context.CancelFunc
	all      sync.WaitGroup
	up, down atomic.Int64

	mu     sync.Mutex
	server string // host:port
	rules  []*Rule
	seen   []Request
	links  map[*link]struct{}
	opened int
	closed bool
}

// Start listens on a free port of the loopback interface.
func Start(o Options) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{options: o, listener: l, server: o.Upstream, links: map[*link]struct{}{}}
	p.life, p.end = context.WithCancel(context.Background())
	p.all.Go(p.accept)
	return p, nil
}

// Addr is where it listens, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends every connection at once and waits until nothing of the proxy runs.
func (p *Proxy) Close() error {
	p.end()
	err := p.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Cut()
	p.all.Wait()
	return err
}

// Cut ends every connection that there is. A client that was killed has left all of
// them, and where a stall holds its request nobody reads that.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.close(false)
	}
}

// Forward passes what is asked for from now on, on new connections, to another
// server, such as one that was started again and has another port.
func (p *Proxy) Forward(server string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = server
}

func (p *Proxy) upstream() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.server
}

// Arm replaces the rules by others, or by none. What already happens to a request
// goes on.
func (p *Proxy) Arm(rules ...*Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = slices.Clone(rules)
}

// Counts are what a Proxy saw since its start.
type Counts struct {
	Requests []Request // in the order in which their heads came
	Up, Down int64     // bytes of bodies, without framing, that came from and went to clients
	Opened   int       // connections of clients
	Open     int       // those that are there now
}

// Of is how many requests match.
func (c Counts) Of(match func(Request) bool) (n int) {
	for _, q := range c.Requests {
		if match(q) {
			n++
		}
	}
	return n
}

// Counts returns what was counted up to now.
func (p *Proxy) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Counts{slices.Clone(p.seen), p.up.Load(), p.down.Load(), p.opened, len(p.links)}
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if p.life.Err() != nil {
			if err == nil {
				_ = conn.Close() // nobody is told any more
			}
			return
		}
		if err != nil {
			continue // of this connection alone
		}
		l := p.admit(conn.(*net.TCPConn))
		if l == nil {
			return
		}
		p.all.Go(func() {
			defer p.forget(l)
			l.serve()
		})
	}
}

// admit counts a connection, unless the proxy is closed.
func (p *Proxy) admit(conn *net.TCPConn) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = conn.Close() // nobody is told any more
		return nil
	}
	p.opened++
	l := newLink(p, conn, p.opened)
	p.links[l] = struct{}{}
	return l
}

func (p *Proxy) forget(l *link) {
	l.close(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// pick notes a request, or a connection, and returns what happens to it.
func (p *Proxy) pick(q Request, conn bool) hit {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !conn {
		p.seen = append(p.seen, q)
	}
	for _, r := range p.rules {
		if r.Fault.conn == conn && r.takes(q) {
			return hit{r.Fault, r}
		}
	}
	return hit{}
}

// A hit is a fault that happens to one request.
type hit struct {
	Fault
	rule *Rule // nil where nothing happens
}

func (h hit) fire() {
	if h.rule != nil {
		h.rule.fire()
	}
}
