// Package transport makes the HTTP transport of agents: one bounded pool of
// connections for each, certificates that are always checked, and no more bytes
// on their way than the network holds, so that a stall is seen soon and a slow
// place is not taken for a dead one.
package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// Options are what agents choose.
type Options struct {
	// CABundle is a file of PEM certificates that are trusted besides those of the
	// system. "" means none.
	CABundle string

	// Connections is the most that are open at once, at least 1. Requests beyond it
	// wait.
	Connections int

	// Dial opens connections; nil means the system's dialer.
	Dial core.Dial
}

// New returns a transport for one agent, which closes its idle connections when it
// is closed. A CA bundle that cannot be read is ErrInvalid. The proxy of the usual
// environment variables is used.
func New(o Options) (*http.Transport, error) {
	if o.Dial == nil {
		o.Dial = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
	}
	roots, err := bundle(o.CABundle)
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialWithin)
			defer cancel()
			conn, err := o.Dial(ctx, network, address)
			if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
				// Where the system does not know it, stalls are seen later.
				_ = keepLittleUnsent(tcp)
			}
			return conn, err
		},
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:   dialWithin,
		MaxConnsPerHost:       o.Connections,
		MaxIdleConnsPerHost:   o.Connections,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // what is stored packed must come back packed
	}, nil
}

const dialWithin = 10 * time.Second

// bundle is nil, which means the system's certificates, where no file is named.
func bundle(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, core.Errorf(core.ErrInvalid, "the CA bundle: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, core.Errorf(core.ErrInvalid, "the CA bundle: %s holds no certificate in PEM form", path)
	}
	return pool, nil
}
