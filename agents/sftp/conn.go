package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

const (
	dialWithin      = 10 * time.Second // to the server, as agents do over HTTP
	handshakeWithin = 30 * time.Second // until the server takes files; it may look up names meanwhile
	graceTime       = 500 * time.Millisecond
	tellEvery       = 100 * time.Millisecond

	// packet is what every server reads and writes at once (draft-ietf-secsh-filexfer-02,
	// 3). A server may answer a request for more with less.
	packet = 32 << 10
	// requests fill the 2 MiB that an SSH channel of golang.org/x/crypto lets be under way.
	requests = 64
)

// A dialer makes connections to one server.
type dialer struct {
	address     string
	user        string
	credentials *credentials
	hosts       *hosts
	env         core.Env
	good        atomic.Int32 // which list of algorithms the server's key was found with
}

// dial makes a connection on which files can be moved.
func (d *dialer) dial(ctx context.Context) (*conn, error) {
	var failed error
	lists := d.hosts.algorithms(d.address)
	for i := int(d.good.Load()); i < len(lists); i++ {
		c, err := d.connect(ctx, lists[i])
		if err == nil {
			d.good.Store(int32(i))
			return c, nil
		}
		var none *ssh.AlgorithmNegotiationError
		host := errors.Is(err, errHost)
		if !host && !errors.As(err, &none) {
			return nil, err
		}
		if failed == nil || host && !errors.Is(failed, errHost) {
			failed = err
		}
	}
	return nil, failed
}

func (d *dialer) connect(ctx context.Context, algorithms []string) (*conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeWithin, core.Errorf(core.ErrUnavailable, "%s: not ready for files within %v", d.address, handshakeWithin))
	defer cancel()
	short, stop := context.WithTimeout(ctx, dialWithin)
	defer stop()
	raw, err := d.env.Dial(short, "tcp", d.address)
	if err != nil {
		return nil, d.failed(ctx, err, nil)
	}
	unhook := context.AfterFunc(ctx, func() { _ = raw.Close() }) // nothing else ends a handshake
	c, untrusted, err := d.handshake(ctx, raw, algorithms)
	if !unhook() || err != nil {
		_ = raw.Close() // of no use
		if c != nil {
			c.end(context.Cause(ctx))
		}
		return nil, d.failed(ctx, err, untrusted)
	}
	c.tasks.Go(func() { c.keepAlive(d.env.Patience.Stall) })
	return c, nil
}

// handshake also returns why the server is not trusted, where it is not.
func (d *dialer) handshake(ctx context.Context, raw net.Conn, algorithms []string) (c *conn, untrusted, err error) {
	methods, end, err := d.credentials.methods(ctx)
	defer end()
	if err != nil {
		return nil, nil, err
	}
	c = &conn{net: &heard{Conn: raw, began: time.Now()}, gone: make(chan struct{}), running: map[*operation]struct{}{}}
	inner, channels, asked, err := ssh.NewClientConn(c.net, d.address, &ssh.ClientConfig{
		User: d.user, Auth: methods, HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(address string, remote net.Addr, key ssh.PublicKey) error {
			c.key = ssh.FingerprintSHA256(key)
			untrusted = d.hosts.check(address, remote, key)
			return untrusted
		},
	})
	if err != nil {
		return nil, untrusted, err
	}
	c.ssh = ssh.NewClient(inner, channels, asked)
	if err := c.start(); err != nil {
		c.end(err)
		return nil, nil, err
	}
	return c, nil, nil
}

// failed says why there is no connection.
func (d *dialer) failed(ctx context.Context, err, untrusted error) error {
	var none *ssh.AlgorithmNegotiationError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case untrusted != nil:
		return untrusted
	case core.KindOf(err) != "":
		return err
	case errors.As(err, &none):
		return &core.Error{Kind: core.ErrUnsupported, Detail: d.address, Err: err}
	case notAccepted(err):
		return &core.Error{Kind: core.ErrUnauthenticated, Detail: fmt.Sprintf("%s does not accept %s: %s", d.address, d.user, d.credentials.refused(d.env.Now())), Err: err}
	}
	return &core.Error{Kind: core.ErrUnavailable, Detail: d.address, Err: err}
}

// notAccepted says whether the server did not let us in. The library has no error for
// that.
func notAccepted(err error) bool {
	return strings.Contains(err.Error(), "unable to authenticate") || strings.Contains(err.Error(), "Too many authentication failures")
}

// noSFTP says why a server that let us in does not speak SFTP: it does not, or the
// connection was lost on the way.
func noSFTP(err error) error {
	var lost *net.OpError
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &lost) {
		return core.Errorf(core.ErrUnavailable, "the server let us in and ended it before it spoke SFTP: %w", err)
	}
	return core.Errorf(core.ErrUnsupported, "the server let us in and does not speak SFTP, or its shell says something first: %w", err)
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
	c.files, err = sftp.NewClientPipe(lively{out, c.moved}, in,
		sftp.MaxPacketChecked(packet), sftp.MaxConcurrentRequestsPerFile(requests), sftp.UseConcurrentWrites(true))
	if err != nil {
		return noSFTP(err)
	}
	c.tasks.Go(func() {
		// Either ends with the other.
		c.end(fmt.Errorf("the server ended it: %w", c.files.Wait()))
	})
	return nil
}

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
