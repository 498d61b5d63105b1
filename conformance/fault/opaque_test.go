package fault_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/fault"
)

// echo sends back what it gets, to the end.
func echo(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return l
}

// say sends content and reads what comes back.
func say(addr string) ([]byte, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	go func() {
		_, _ = conn.Write(content)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	return io.ReadAll(conn)
}

func TestOpaque(t *testing.T) {
	p := start(t, fault.Options{Upstream: echo(t).Addr().String(), Opaque: true})
	flipped := bytes.Clone(content)
	flipped[5000] ^= 1
	for _, c := range []struct {
		fault fault.Fault
		fails bool
		most  int
		want  []byte
	}{
		{fault.Delay(time.Millisecond), false, len(content), content},
		{fault.FlipUp(5000), false, len(content), flipped},
		{fault.FlipDown(5000), false, len(content), flipped},
		{fault.CutDown(5000), false, 5000, content},
		{fault.ResetUp(5000), true, 5000, content},
		{fault.ResetDown(5000), true, 5000, content},
		{fault.Reset(), true, 0, content},
		{fault.Refuse(), true, 0, content},
		{fault.SlowUp(16 << 20), false, len(content), content},
	} {
		r := &fault.Rule{Fault: c.fault}
		p.Arm(r)
		got, err := say(p.Addr())
		// A write that meets the reset takes its error away from the read.
		if c.fails && err != nil && !reset(err) || !c.fails && err != nil || !bytes.HasPrefix(c.want, got) || len(got) > c.most || !c.fails && len(got) != c.most && c.most == len(content) {
			t.Errorf("%v: %d bytes, %v", c.fault, len(got), err)
		}
		if r.Fired() != 1 {
			t.Errorf("%v: fired %d times", c.fault, r.Fired())
		}
		if got, err := say(p.Addr()); err != nil || !bytes.Equal(got, content) {
			t.Errorf("after %v: %d bytes, %v", c.fault, len(got), err)
		}
	}
	closes(t, p)
}

func TestTLS(t *testing.T) {
	s := newServer(t)
	for defect, ok := range map[fault.Defect]func(error) bool{
		fault.Sound: func(err error) bool { return err == nil },
		fault.Expired: func(err error) bool {
			var e x509.CertificateInvalidError
			return errors.As(err, &e) && e.Reason == x509.Expired
		},
		fault.WrongHost:  func(err error) bool { var e x509.HostnameError; return errors.As(err, &e) },
		fault.SelfSigned: func(err error) bool { var e x509.UnknownAuthorityError; return errors.As(err, &e) },
	} {
		id, err := fault.NewIdentity(defect, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		p := start(t, fault.Options{Upstream: s.Listener.Addr().String(), TLS: id.TLS})
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(id.CA)
		c := client(t)
		c.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
		resp, err := c.Get("https://" + p.Addr() + "/a")
		if !ok(err) {
			t.Errorf("%q: %v", defect, err)
		}
		if err != nil {
			continue
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		p.Arm(&fault.Rule{Fault: fault.ResetDown(10)})
		if _, _, err := get(c, p, "GET", "/a", nil, nil); err == nil {
			t.Error("plain HTTP to a TLS proxy works")
		}
	}
}

// Over a long way each byte comes late, and all come.
func TestRoundTrip(t *testing.T) {
	const far = 200 * time.Millisecond
	p := start(t, fault.Options{Upstream: echo(t).Addr().String(), Opaque: true, RoundTrip: far})
	begin := time.Now()
	if got, err := say(p.Addr()); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if took := time.Since(begin); took < far {
		t.Errorf("there and back in %v", took)
	}
}

// A proxy that is closed delivers nothing any more.
func TestRoundTripEnds(t *testing.T) {
	p := start(t, fault.Options{Upstream: echo(t).Addr().String(), Opaque: true, RoundTrip: time.Hour})
	ended := make(chan error)
	go func() {
		_, err := say(p.Addr())
		ended <- err
	}()
	for p.Counts().Opened == 0 {
		if t.Context().Err() != nil {
			return
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	<-ended
}
