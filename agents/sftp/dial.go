package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/offsite-backup/offsite/core"
)

const (
	dialWithin      = 10 * time.Second // to the server, as agents do over HTTP
	handshakeWithin = 30 * time.Second // until the server takes files; it may look up names meanwhile
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
			// It is asked again whenever the connection gets new keys, beside what reads c.key.
			err := d.hosts.check(address, remote, key)
			if c.key == "" {
				c.key, untrusted = ssh.FingerprintSHA256(key), err
			}
			return err
		},
	})
	if err != nil && c.key != "" && untrusted == nil && !lost(err) { // all that is left is to be let in
		return nil, nil, &core.Error{Kind: core.ErrUnauthenticated, Detail: fmt.Sprintf("%s does not accept %s: %s", d.address, d.user, d.credentials.refused(d.env.Now())), Err: err}
	}
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
	}
	return &core.Error{Kind: core.ErrUnavailable, Detail: d.address, Err: err}
}

// lost says whether a connection ended for a reason that may pass. What a server says
// when it ends one, the library tells by its text alone.
func lost(err error) bool {
	var network net.Error
	text := err.Error()
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		strings.Contains(text, "ssh: disconnect") && !strings.Contains(text, "authentication")
}
