package emulator

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// An SFTP is what users of a server that speaks SFTP have to know of it.
type SFTP struct {
	Address    string // 127.0.0.1:port
	User       string // who may log in
	Key        string // file of the private key of User
	KnownHosts string // file that has the server's key
	HostKey    string // its fingerprint, SHA256:…
	Dir        string // the folder of this machine where User begins: that of sftp://…/~/

	authority ssh.Signer // signs users' certificates
	host      ssh.PublicKey
}

// URL is that of a folder below Dir, over another address of the server. The key of
// the server is pinned, whatever the address.
func (s *SFTP) URL(address, dir string) string {
	u := url.URL{Scheme: "sftp", User: url.User(s.User), Host: address, Path: "/~/" + dir}
	u.RawQuery = url.Values{"key": {s.Key}, "host_key": {s.HostKey}}.Encode()
	return u.String()
}

// HostLine is a line of known hosts that has the server's key for an address.
func (s *SFTP) HostLine(address string) string { return knownhosts.Line([]string{address}, s.host) }

// Certificate writes a certificate of a new key, for User, from an hour before a time
// until then, and returns the file of the key.
func (s *SFTP) Certificate(dir string, until time.Time) (key string, err error) {
	key = filepath.Join(dir, "certified")
	signer, err := writeKey(key)
	if err != nil {
		return "", err
	}
	cert := &ssh.Certificate{
		Key: signer.PublicKey(), CertType: ssh.UserCert, KeyId: "test", ValidPrincipals: []string{s.User},
		ValidAfter: uint64(until.Add(-time.Hour).Unix()), ValidBefore: uint64(until.Unix()),
	}
	if err := cert.SignCert(rand.Reader, s.authority); err != nil {
		return "", err
	}
	return key, os.WriteFile(key+"-cert.pub", ssh.MarshalAuthorizedKey(cert), 0o600)
}

// newSFTP makes the keys of a server at an address, and of its user, below dir.
func newSFTP(dir, user, address string) (s *SFTP, host ssh.Signer, err error) {
	s = &SFTP{Address: address, User: user, Key: filepath.Join(dir, "user_key"), KnownHosts: filepath.Join(dir, "known_hosts"), Dir: filepath.Join(dir, "data")}
	if host, err = writeKey(filepath.Join(dir, "host_key")); err != nil {
		return nil, nil, err
	}
	if s.authority, err = writeKey(filepath.Join(dir, "authority")); err != nil {
		return nil, nil, err
	}
	signer, err := writeKey(s.Key)
	if err != nil {
		return nil, nil, err
	}
	s.host, s.HostKey = host.PublicKey(), ssh.FingerprintSHA256(host.PublicKey())
	for name, text := range map[string][]byte{
		s.KnownHosts:                          []byte(s.HostLine(s.Address) + "\n"),
		filepath.Join(dir, "authorized_keys"): ssh.MarshalAuthorizedKey(signer.PublicKey()),
		filepath.Join(dir, "authority.pub"):   ssh.MarshalAuthorizedKey(s.authority.PublicKey()),
	} {
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return nil, nil, err
		}
	}
	if err := os.Mkdir(s.Dir, 0o700); err != nil && !os.IsExist(err) {
		return nil, nil, err
	}
	return s, host, nil
}

// writeKey makes a private key, unless its file is there.
func writeKey(file string) (ssh.Signer, error) {
	text, err := os.ReadFile(file)
	if err == nil {
		return ssh.ParsePrivateKey(text)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return ssh.NewSignerFromSigner(key)
}
