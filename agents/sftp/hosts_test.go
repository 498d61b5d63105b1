package sftp

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

func signerOf(t *testing.T, key any) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// hostKeys are one of each kind, with the first one twice.
func hostKeys(t *testing.T) (ed, other, ec, rs ssh.Signer) {
	t.Helper()
	_, one, e1 := ed25519.GenerateKey(rand.Reader)
	_, two, e2 := ed25519.GenerateKey(rand.Reader)
	three, e3 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	four, e4 := rsa.GenerateKey(rand.Reader, 2048)
	for _, err := range []error{e1, e2, e3, e4} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return signerOf(t, one), signerOf(t, two), signerOf(t, three), signerOf(t, four)
}

// greet connects to a server with some keys, which lets nobody in, and returns why it
// was not trusted, or nil where it was.
func greet(t *testing.T, c *Config, keys ...ssh.Signer) error {
	t.Helper()
	config := &ssh.ServerConfig{PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, os.ErrPermission }}
	for _, k := range keys {
		config.AddHostKey(k)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _, _, _ = ssh.NewServerConn(conn, config) // it lets nobody in
				_ = conn.Close()
			}()
		}
	}()
	c.Host, c.User, c.Dir, c.Password = "127.0.0.1", "me", "/srv", core.NewSecret("canary")
	c.Port = l.Addr().(*net.TCPAddr).Port
	if c.KnownHosts != "" { // the port was not known before
		text, err := os.ReadFile(c.KnownHosts)
		if err != nil {
			t.Fatal(err)
		}
		name := knownhosts.Normalize(l.Addr().String())
		text = []byte(strings.NewReplacer("HOST", name, "HASH", knownhosts.HashHostname(name)).Replace(string(text)))
		if err := os.WriteFile(c.KnownHosts, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := prove.Open(t, c, core.Env{})
	_, err = a.Get(t.Context(), "20260102T030405Z-aaaaaaaaaaaaa")
	prove.Kind(t, "a Get", err, core.ErrUnauthenticated)
	if err != nil && strings.Contains(err.Error(), "does not accept me") {
		return nil
	}
	return err
}

func line(host string, key ssh.PublicKey) string {
	return host + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + "\n"
}

// A server is trusted by one of its keys, whichever of them is known and however many
// it has.
func TestHostKeys(t *testing.T) {
	ed, other, ec, rs := hostKeys(t)
	authority := other
	cert := &ssh.Certificate{Key: ed.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.1"}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	certified, err := ssh.NewCertSigner(cert, ed)
	if err != nil {
		t.Fatal(err)
	}
	late := *cert
	late.ValidBefore = uint64(time.Now().Add(-time.Hour).Unix())
	elsewhere := *cert
	elsewhere.ValidPrincipals = []string{"nas"}
	badly := map[*ssh.Certificate]ssh.Signer{&late: nil, &elsewhere: nil}
	for c := range badly {
		if err := c.SignCert(rand.Reader, authority); err != nil {
			t.Fatal(err)
		}
		if badly[c], err = ssh.NewCertSigner(c, ed); err != nil {
			t.Fatal(err)
		}
	}
	authorities := "@cert-authority " + line("HOST", authority.PublicKey())
	all := []ssh.Signer{ed, ec, rs}
	print := func(k ssh.Signer) string { return ssh.FingerprintSHA256(k.PublicKey()) }
	for name, test := range map[string]struct {
		hosts  string
		pinned string
		server []ssh.Signer
		want   []string // of the error; nil where it is trusted
	}{
		"ed25519 of three":                {hosts: line("HOST", ed.PublicKey()), server: all},
		"ecdsa of three":                  {hosts: line("HOST", ec.PublicKey()), server: all},
		"rsa of three":                    {hosts: line("HOST", rs.PublicKey()), server: all},
		"unknown":                         {hosts: "", server: all, want: []string{"is not known", print(ed), "HOSTLINE"}},
		"another host's":                  {hosts: line("nas", ed.PublicKey()), server: all, want: []string{"is not known", print(ed), "HOSTLINE"}},
		"changed":                         {hosts: line("HOST", other.PublicKey()), server: all, want: []string{"has changed", print(ed), print(other), "HOSTLINE", ":1)"}},
		"changed its kind":                {hosts: line("HOST", ed.PublicKey()), server: []ssh.Signer{rs}, want: []string{"has changed", print(ed), print(rs)}},
		"revoked":                         {hosts: line("HOST", ed.PublicKey()) + "@revoked " + line("*", ed.PublicKey()), server: []ssh.Signer{ed}, want: []string{"is revoked", print(ed)}},
		"hashed":                          {hosts: line("HASH", ec.PublicKey()), server: all},
		"hashed and changed":              {hosts: line("HASH", other.PublicKey()), server: all, want: []string{"has changed", print(other)}},
		"certified":                       {hosts: authorities, server: []ssh.Signer{certified}},
		"certified and others":            {hosts: authorities, server: []ssh.Signer{certified, ec, rs}},
		"certified too long ago":          {hosts: authorities, server: []ssh.Signer{badly[&late], ed}, want: []string{"expired"}},
		"certified for another":           {hosts: authorities, server: []ssh.Signer{badly[&elsewhere], ed}, want: []string{"principal"}},
		"certified by another":            {hosts: "@cert-authority " + line("HOST", ec.PublicKey()), server: []ssh.Signer{certified, ed}, want: []string{"no authorities"}},
		"not certified":                   {hosts: authorities, server: []ssh.Signer{ed}, want: []string{"is not known", "HOSTLINE"}},
		"known and certified by nobody's": {hosts: line("HOST", ed.PublicKey()), server: []ssh.Signer{certified, ed}},
		"pinned ed25519":                  {pinned: print(ed), server: all},
		"pinned ecdsa":                    {pinned: print(ec), server: all},
		"pinned rsa":                      {pinned: print(rs) + "=", server: all},
		"pinned another":                  {pinned: print(other), server: all, want: []string{print(ed), "host_key says " + print(other)}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Config{HostKey: test.pinned}
			if test.pinned == "" {
				c.KnownHosts = filepath.Join(t.TempDir(), "known hosts")
				if err := os.WriteFile(c.KnownHosts, []byte(test.hosts), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := greet(t, c, test.server...)
			if (err == nil) != (test.want == nil) {
				t.Fatalf("trusted: %v; want %q", err, test.want)
			}
			for _, part := range test.want {
				part = strings.ReplaceAll(part, "HOSTLINE", knownhosts.Line([]string{c.address()}, ed.PublicKey()))
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v\nhas no %q", err, part)
				}
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("a secret: %v", err)
			}
		})
	}
}

// The line that an unknown host's error shows makes it known.
func TestLineToAdd(t *testing.T) {
	server := pkgsftp.Get(t)
	hosts := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(hosts, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := configured(server.SFTP, server.Address, "line-to-add")
	c.HostKey, c.KnownHosts = "", hosts
	_, err := prove.List(t.Context(), prove.Open(t, c, core.Env{}))
	prove.Kind(t, "a list", err, core.ErrUnauthenticated)
	_, add, ok := strings.Cut(err.Error(), "add this line to "+hosts+": ")
	if !ok || add != server.HostLine(server.Address) {
		t.Fatalf("%v", err)
	}
	if err := os.WriteFile(hosts, []byte(add+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	prove.Uploaded(t, prove.Open(t, c, core.Env{}), prove.Noise(10))
}
