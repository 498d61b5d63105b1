package sftp

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

const (
	graceTime = 500 * time.Millisecond
	tellEvery = 100 * time.Millisecond

	// packet is what every server reads and writes at once (32 KiB:
	// draft-ietf-secsh-filexfer-02, 3), less what stands before it, so that one packet of
	// SSH carries it all. A server may answer a request for more with less.
	packet = 31 << 10
	// requests fill the 2 MiB that an SSH channel of golang.org/x/crypto lets be under way.
	requests = 64
)

// A conn is one SSH connection with SFTP on it. It is safe for concurrent use.
type conn struct {
	net   *heard
	ssh   *ssh.Client
	files *sftp.Client
	key   string        // fingerprint of the server's
	gone  chan struct{} // closed when it is of no use any more
	why   error         // read after gone
	once  sync.Once
	tasks sync.WaitGroup
	users int // guarded by its pool

	mu      sync.Mutex
	running map[*operation]struct{}
	told    time.Time
}

// start begins SFTP on a connection.
func (c *conn) start() error {
	session, err := c.ssh.NewSession()
	if err != nil {
		return err
	}
	in, err := session.StdinPipe()
	if err != nil {
		return err
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return err
	}
	said, err := session.StderrPipe()
	if err != nil {
		return err
	}
	c.tasks.Go(func() { _, _ = io.Copy(io.Discard, said) }) // so that it does not wait for us
	if err := session.RequestSubsystem("sftp"); err != nil {
		return noSFTP(err)
	}
	c.files, err = sftp.NewClientPipe(bufio.NewReaderSize(lively{out, c.moved}, 128<<10), &messages{WriteCloser: in},
		sftp.MaxPacketChecked(packet), sftp.MaxConcurrentRequestsPerFile(requests))
	if err != nil {
		return noSFTP(err)
	}
	c.tasks.Go(func() {
		// Either ends with the other.
		c.end(fmt.Errorf("the server ended it: %w", c.files.Wait()))
	})
	return nil
}

// noSFTP says why a server that let us in does not speak SFTP: it does not, or the
// connection was lost on the way.
func noSFTP(err error) error {
	if lost(err) {
		return core.Errorf(core.ErrUnavailable, "the server let us in and ended it before it spoke SFTP: %w", err)
	}
	return core.Errorf(core.ErrUnsupported, "the server let us in and does not speak SFTP, or its shell says something first: %w", err)
}

// An operation is one on its way.
type operation struct {
	ctx  context.Context
	done chan struct{}
}

var errLost = errors.New("the connection was lost")

// do runs an operation at the server. What does not end soon after ctx has is ended
// with the connection: there is no other way.
func (c *conn) do(ctx context.Context, f func() error) error {
	op := &operation{ctx, make(chan struct{})}
	c.mu.Lock()
	c.running[op] = struct{}{}
	c.mu.Unlock()
	unhook := context.AfterFunc(ctx, func() { c.overdue(op) })
	err := f()
	unhook()
	close(op.done)
	c.mu.Lock()
	delete(c.running, op)
	c.mu.Unlock()
	if err == nil {
		return nil
	}
	select {
	case <-c.gone:
		return core.Errorf(core.ErrUnavailable, "%w: %v", errLost, c.why)
	default:
	}
	if errors.Is(err, io.EOF) { // what a library says of a channel that is closed; nobody is to take it for the end of a file
		return core.Errorf(core.ErrUnavailable, "%w: the server ended it", errLost)
	}
	return err
}

// later runs what nobody waits for, and what becomes of it is of no matter.
func (c *conn) later(f func() error) { c.tasks.Go(func() { _ = f() }) }

func (c *conn) overdue(op *operation) {
	timer := time.NewTimer(graceTime)
	defer timer.Stop()
	select {
	case <-op.done:
	case <-timer.C:
		c.end(context.Cause(op.ctx))
	}
}

// moved tells all operations under way that something came from the server. A slow
// connection carries them all.
func (c *conn) moved() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.told) < tellEvery {
		return
	}
	c.told = now
	for op := range c.running {
		object.Alive(op.ctx)
	}
}

// end ends the connection and all that is under way on it.
func (c *conn) end(why error) {
	c.once.Do(func() {
		c.why = why
		close(c.gone)
		_ = c.net.Close() // it is of no use any more
	})
}

// wait returns when nothing of an ended connection is left.
func (c *conn) wait() {
	if c.ssh != nil {
		_ = c.ssh.Wait() // it was ended
	}
	c.tasks.Wait()
}

// keepAlive ends the connection when nothing came from the server for so long, not
// even an answer to what it has to answer (RFC 4254, 4).
func (c *conn) keepAlive(stall time.Duration) {
	tick := time.NewTicker(max(min(stall/4, 15*time.Second), time.Millisecond))
	defer tick.Stop()
	asking := make(chan struct{}, 1)
	for {
		select {
		case <-c.gone:
			return
		case <-tick.C:
		}
		silent := c.net.silent()
		if silent >= stall {
			c.end(fmt.Errorf("nothing came from the server for %v", silent.Round(time.Second)))
			return
		}
		if silent < stall/4 {
			continue
		}
		select {
		case asking <- struct{}{}:
			c.tasks.Go(func() {
				_, _, _ = c.ssh.SendRequest("keepalive@openssh.com", true, nil) // any answer is one
				<-asking
			})
		default: // it is not answered yet
		}
	}
}

// A heard connection knows when something came last.
type heard struct {
	net.Conn
	began time.Time
	last  atomic.Int64 // since then
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 {
		h.last.Store(int64(time.Since(h.began)))
	}
	return n, err
}

func (h *heard) silent() time.Duration { return time.Since(h.began) - time.Duration(h.last.Load()) }

// A lively reader tells that something came.
type lively struct {
	io.Reader
	moved func()
}

func (l lively) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if n > 0 {
		l.moved()
	}
	return n, err
}

// messages passes on whole messages of SFTP, each of which begins with its length: the
// library writes them in two halves, and each would be a packet of SSH.
type messages struct {
	io.WriteCloser
	begun []byte
}

func (m *messages) Write(p []byte) (int, error) {
	m.begun = append(m.begun, p...)
	if len(m.begun) < 4 || len(m.begun)-4 < int(binary.BigEndian.Uint32(m.begun)) {
		return len(p), nil
	}
	_, err := m.WriteCloser.Write(m.begun)
	m.begun = m.begun[:0]
	return len(p), err
}
