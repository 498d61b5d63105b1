package reference

import (
	"encoding/gob"
	"errors"
	"net"
	"sync"

	"github.com/offsite-backup/offsite/core"
)

// Serve answers requests for a place on a listener until that is closed. It
// returns when every connection has ended.
func (p *Place) Serve(l net.Listener) error { return serve(p.do, l) }

func serve(ask transport, l net.Listener) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		all.Go(func() { answer(ask, conn) })
	}
}

// answer ends when the other side does, be it killed.
func answer(ask transport, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in, out := gob.NewDecoder(conn), gob.NewEncoder(conn)
	for {
		var q request
		if in.Decode(&q) != nil || out.Encode(ask(q)) != nil {
			return
		}
	}
}

// A Connection reaches a place of another process.
type Connection struct {
	mu   sync.Mutex
	conn net.Conn
	in   *gob.Decoder
	out  *gob.Encoder
}

// Dial connects to a place that is served at a TCP address.
func Dial(address string) (*Connection, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &Connection{conn: conn, in: gob.NewDecoder(conn), out: gob.NewEncoder(conn)}, nil
}

func (c *Connection) do(q request) (r response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.Encode(q) != nil || c.in.Decode(&r) != nil {
		return response{Err: core.ErrUnavailable}
	}
	return r
}

// Close ends the connection.
func (c *Connection) Close() error { return c.conn.Close() }
