package sftp

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/offsite-backup/offsite/core"
)

// hosts know which servers' keys to trust.
type hosts struct {
	pinned string              // fingerprint; "" asks known
	known  ssh.HostKeyCallback // never nil without pinned
	file   string              // that a new line is added to

	authorities map[string]bool // where known has those: file:line
}

func (c *Config) hosts() (*hosts, error) {
	h := &hosts{pinned: strings.TrimRight(c.HostKey, "="), file: c.KnownHosts, authorities: map[string]bool{}}
	if h.pinned != "" {
		return h, nil
	}
	files := []string{c.KnownHosts}
	if c.KnownHosts == "" {
		files = []string{"/etc/ssh/ssh_known_hosts"}
		if home, err := os.UserHomeDir(); err == nil {
			files = append([]string{filepath.Join(home, ".ssh", "known_hosts")}, files...)
		}
		h.file = files[0]
	}
	var there []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if c.KnownHosts == "" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("the known hosts: %w", err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "@cert-authority") {
				h.authorities[fmt.Sprint(file, ":", i+1)] = true
			}
		}
		there = append(there, file)
	}
	var err error
	if h.known, err = knownhosts.New(there...); err != nil {
		return nil, fmt.Errorf("the known hosts: %w: mend that line, or name another file by known_hosts", err)
	}
	return h, nil
}

// Kinds of keys of servers, with the algorithms that they sign by.
var (
	keyFamilies = [][]string{
		{ssh.KeyAlgoED25519},
		{ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521},
		{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256},
	}
	certified = []string{
		ssh.CertAlgoED25519v01,
		ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
		ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
	}
)

// algorithms are what a server is asked for, one list after the other until its key is
// one that is known: a server with several keys would show one that is not.
func (h *hosts) algorithms(address string) [][]string {
	if h.pinned != "" {
		return keyFamilies
	}
	lists := [][]string{slices.Concat(keyFamilies...)}
	var known []string
	for _, want := range h.wanted(address) {
		switch t := want.Key.Type(); t {
		case ssh.KeyAlgoRSA:
			known = append(known, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			known = append(known, t)
		}
	}
	if len(known) > 0 {
		lists = append([][]string{known}, lists...)
	}
	if len(h.authorities) > 0 {
		lists = append([][]string{certified}, lists...)
	}
	return lists
}

// wanted are the keys that the files have for a server.
func (h *hosts) wanted(address string) []knownhosts.KnownKey {
	nobodys, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		return nil
	}
	var unknown *knownhosts.KeyError
	errors.As(h.known(address, &net.TCPAddr{}, nobodys), &unknown)
	if unknown == nil {
		return nil
	}
	return h.own(unknown.Want)
}

// own are those of the keys that are a host's own, and no authority's.
func (h *hosts) own(keys []knownhosts.KnownKey) []knownhosts.KnownKey {
	return slices.DeleteFunc(keys, func(k knownhosts.KnownKey) bool { return h.authorities[fmt.Sprint(k.Filename, ":", k.Line)] })
}

// errHost is in errors about the key of a server, whichever they are.
var errHost = errors.New("the server is not trusted")

// check says whether the key of a server is known, and if not, what to do.
func (h *hosts) check(address string, remote net.Addr, key ssh.PublicKey) error {
	fingerprint := ssh.FingerprintSHA256(key)
	if h.pinned != "" {
		if fingerprint == h.pinned {
			return nil
		}
		return untrusted("the host key of %s is %s (%s), and host_key says %s; somebody may stand in between, or the server was set up anew: ask who runs it", address, fingerprint, key.Type(), h.pinned)
	}
	err := h.known(address, remote, key)
	if err == nil {
		return nil
	}
	line := knownhosts.Line([]string{address}, key)
	var unknown *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case errors.As(err, &revoked):
		return untrusted("the host key of %s, %s, is revoked by %s:%d", address, fingerprint, revoked.Revoked.Filename, revoked.Revoked.Line)
	case !errors.As(err, &unknown):
		return untrusted("the host key of %s, %s: %v", address, fingerprint, err)
	}
	known := h.own(unknown.Want)
	if len(known) == 0 {
		return untrusted("the host key of %s is not known; it is %s (%s). If that is what who runs it says, add this line to %s: %s", address, fingerprint, key.Type(), h.file, line)
	}
	want := known[0]
	for _, k := range known {
		if k.Key.Type() == key.Type() {
			want = k
		}
	}
	return untrusted("the host key of %s has changed: it is %s (%s), and was %s (%s:%d); somebody may stand in between, or the server was set up anew: ask who runs it, and if so put this in the place of that line: %s",
		address, fingerprint, key.Type(), ssh.FingerprintSHA256(want.Key), want.Filename, want.Line, line)
}

func untrusted(format string, args ...any) error {
	return &core.Error{Kind: core.ErrUnauthenticated, Detail: fmt.Sprintf(format, args...), Err: silent{errHost}}
}

// silent is a cause whose words stand in the detail.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }
