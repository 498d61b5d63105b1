package sftp

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

const passphrase = "canary-passphrase"

// lockedKey is a new key with a passphrase.
func lockedKey(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return locked(t, key)
}

func locked(t *testing.T, key any) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

// userKey is the key of the user of a server, as its file has it and as it is.
func userKey(t *testing.T, file string) (text []byte, key any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if key, err = ssh.ParseRawPrivateKey(text); err != nil {
		t.Fatal(err)
	}
	return text, key
}

// Every way to log in that a server knows is one that a backup can be stored by.
func TestLogins(t *testing.T) {
	sshd, other := openssh.Get(t), pkgsftp.Get(t)
	text, key := userKey(t, sshd.Key)
	lockedFile := filepath.Join(t.TempDir(), "locked")
	if err := os.WriteFile(lockedFile, []byte(locked(t, key)), 0o600); err != nil {
		t.Fatal(err)
	}
	certified, err := sshd.Certificate(t.TempDir(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	plain := func(with func(*Config)) *Config {
		c := configured(sshd.SFTP, sshd.Address, filepath.Base(t.TempDir())+time.Now().Format("150405.000000000"))
		c.KeyFile = ""
		with(c)
		return c
	}
	socket := sshAgent(t, key)
	for name, c := range map[string]*Config{
		"key file":                   plain(func(c *Config) { c.KeyFile = sshd.Key }),
		"key":                        plain(func(c *Config) { c.Key = core.NewSecret(string(text)) }),
		"locked key file":            plain(func(c *Config) { c.KeyFile, c.Passphrase = lockedFile, core.NewSecret(passphrase) }),
		"locked key":                 plain(func(c *Config) { c.Key, c.Passphrase = core.NewSecret(locked(t, key)), core.NewSecret(passphrase) }),
		"certificate beside its key": plain(func(c *Config) { c.KeyFile = certified }),
		"certificate elsewhere": plain(func(c *Config) {
			named, _ := userKey(t, certified)
			c.Key, c.Certificate = core.NewSecret(string(named)), certified+"-cert.pub"
		}),
		"agent": plain(func(*Config) {}),
		"password": func() *Config {
			c := configured(other.SFTP, other.Address, "by-password")
			c.KeyFile, c.Password = "", core.NewSecret(other.Password)
			return c
		}(),
		"a key that is refused, then the password": func() *Config {
			c := configured(other.SFTP, other.Address, "by-both")
			c.KeyFile, c.Password = sshd.Key, core.NewSecret(other.Password)
			return c
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "agent" {
				t.Setenv("SSH_AUTH_SOCK", socket)
			}
			w := prove.NewWitness(t)
			a := prove.Open(t, c, w.Env())
			body := prove.Noise(100_000)
			prove.Holds(t, a, prove.Uploaded(t, a, body), body)
			w.Silent(nil, string(text), passphrase, other.Password)
		})
	}
}

// sshAgent serves keys at a socket: those of others first.
func sshAgent(t *testing.T, key any) (socket string) {
	t.Helper()
	ring := agent.NewKeyring()
	for range 2 {
		_, another, err := ed25519.GenerateKey(rand.Reader)
		if err == nil {
			err = ring.Add(agent.AddedKey{PrivateKey: &another})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "agent") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = l.Close(), os.RemoveAll(dir) })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn) }() // it ends with the connection
		}
	}()
	return socket
}
