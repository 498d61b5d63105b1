package transport_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transport"
)

func open(t *testing.T, o transport.Options) *http.Transport {
	t.Helper()
	tr, err := transport.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func TestCertificates(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(bundle, block, 0o600); err != nil {
		t.Fatal(err)
	}
	get := func(o transport.Options) error {
		r, err := (&http.Client{Transport: open(t, o)}).Get(server.URL)
		if err == nil {
			err = r.Body.Close()
		}
		return err
	}
	if bad := (*tls.CertificateVerificationError)(nil); !errors.As(get(transport.Options{}), &bad) {
		t.Error("a certificate that nobody signed is taken")
	}
	if err := get(transport.Options{CABundle: bundle}); err != nil {
		t.Errorf("a certificate of the bundle: %v", err)
	}
	if err := os.WriteFile(bundle, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{bundle, bundle + "-missing"} {
		if _, err := transport.New(transport.Options{CABundle: path}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	const most = 2
	arrived, goOn := make(chan struct{}, 10), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-goOn
	}))
	defer server.Close()
	var opened atomic.Int32
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		opened.Add(1)
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	client := &http.Client{Transport: open(t, transport.Options{Connections: most, Dial: dial})}
	var requests sync.WaitGroup
	for range 5 {
		requests.Go(func() {
			r, err := client.Get(server.URL)
			if err == nil {
				err = r.Body.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range most {
		<-arrived
	}
	close(goOn)
	requests.Wait()
	if n := opened.Load(); n != most {
		t.Errorf("%d connections for 5 requests, want %d", n, most)
	}
}

// What packs and unpacks on the way would store other bytes than were sent.
func TestNothingIsUnpacked(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Accepted", r.Header.Get("Accept-Encoding"))
	}))
	defer server.Close()
	r, err := (&http.Client{Transport: open(t, transport.Options{})}).Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if got := r.Header.Get("Accepted"); got != "" {
		t.Errorf("asks for %q", got)
	}
}

// A host that answers nothing is given up, whoever dials it.
func TestDialEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		tr, err := transport.New(transport.Options{Dial: dial})
		if err != nil {
			t.Fatal(err)
		}
		defer tr.CloseIdleConnections()
		begin := time.Now()
		_, err = (&http.Client{Transport: tr}).Get("http://203.0.113.1/")
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took > 10*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}
