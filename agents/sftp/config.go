package sftp

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
	"github.com/offsite-backup/offsite/core/object"
	"github.com/offsite-backup/offsite/core/option"
)

const name = "sftp"

// Kind is the agent as a program links it.
func Kind() core.Kind {
	return core.Kind{
		Name:    name,
		Schemes: []string{name},
		Summary: "a directory of a server that speaks SFTP: sftp://user@host:port/dir?key=…",
		Config:  func() core.Config { return new(Config) },
	}
}

// A Config says where backups are kept, and how to get there.
type Config struct {
	Host string `config:"required"`
	Port int    // 0 is 22
	User string `config:"required"`

	// Dir is the directory at the server. One that is not absolute, or begins with
	// ~/, is below the home directory.
	Dir string `config:"required"`

	Key         core.Secret // a private key, as the text of its file
	KeyFile     string      `config:"path"` // or the file
	Passphrase  core.Secret // of the key
	Certificate string      `config:"path"` // file of the certificate of the key; "" is KeyFile-cert.pub, where that is there
	Password    core.Secret

	KnownHosts string `config:"path"` // file of known hosts; "" is ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts
	HostKey    string // fingerprint of the server's key, SHA256:…, instead of known hosts

	Connections int   // at once, 1 to 16; 0 is 4
	PartSize    int64 // bytes, 1 MiB to 1 GiB; 0 is 16 MiB
}

// The environment variables of what stands in no URL.
const (
	passwordVariable   = "OFFSITE_SFTP_PASSWORD"
	passphraseVariable = "OFFSITE_SFTP_PASSPHRASE"
)

// SetURL takes sftp://user@host:port/dir?option=value.
func (c *Config) SetURL(u *url.URL) error {
	if u.Fragment != "" || u.Opaque != "" {
		return core.Errorf(core.ErrInvalid, "a directory of a server is written sftp://user@host:port/dir; a # in its name is written %%23")
	}
	c.Host, c.User = u.Hostname(), u.User.Username()
	if text := u.Port(); text != "" {
		port, err := strconv.Atoi(text)
		if err != nil || port == 0 {
			return core.Errorf(core.ErrInvalid, "no port %q", text)
		}
		c.Port = port
	}
	c.Dir = strings.TrimRight(u.Path, "/")
	if rest, home := strings.CutPrefix(c.Dir, "/~"); home && (rest == "" || rest[0] == '/') {
		c.Dir = "~" + rest
	} else if c.Dir == "" && u.Path != "" {
		c.Dir = "/"
	}
	if err := option.SetQuery(c, keyIsFile(u.RawQuery), "host", "port", "user", "dir"); err != nil {
		return core.Errorf(core.ErrInvalid, "%s: %w", c.Place(), err)
	}
	if c.KeyFile == "" { // a server that takes no key is not to be told the password of another
		c.Password = core.NewSecret(os.Getenv(passwordVariable))
	}
	c.Passphrase = core.NewSecret(os.Getenv(passphraseVariable))
	return c.check()
}

// keyIsFile makes the option key of a URL, which cannot hold one, key_file.
func keyIsFile(query string) string {
	all := strings.Split(query, "&")
	for i, o := range all {
		if value, ok := strings.CutPrefix(o, "key="); ok {
			all[i] = "key_file=" + value
		}
	}
	return strings.Join(all, "&")
}

// Place is "sftp:user@host/dir", with the port where it is not 22.
func (c *Config) Place() string {
	host := c.Host
	if cmp.Or(c.Port, sshPort) != sshPort {
		host = c.address()
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	dir := c.dir()
	if !path.IsAbs(dir) {
		dir = "/~/" + dir
	}
	return name + ":" + c.User + "@" + host + strings.TrimSuffix(dir, "/.")
}

const sshPort = 22

func (c *Config) address() string {
	return net.JoinHostPort(strings.ToLower(c.Host), strconv.Itoa(cmp.Or(c.Port, sshPort)))
}

// dir is Dir as the server takes it.
func (c *Config) dir() string {
	if rest, home := strings.CutPrefix(c.Dir, "~"); home && (rest == "" || rest[0] == '/') {
		return path.Clean("./" + rest)
	}
	return path.Clean(c.Dir)
}

// Open returns the agent. It reads keys and known hosts and asks the server nothing.
// The directory need not be there: the first upload makes it, and until then reading
// answers core.ErrNoPlace.
func (c *Config) Open(ctx context.Context, env core.Env) (core.Agent, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if env.Name == "" {
		env.Name = c.Place()
	}
	// Files of two places may look the same: all that is known of one is its size and
	// the second in which it was made.
	if env.CacheDir != "" {
		sum := sha256.Sum256([]byte(c.address() + " " + c.User + " " + c.dir()))
		env.CacheDir = filepath.Join(env.CacheDir, hex.EncodeToString(sum[:8]))
	}
	t, err := newTree(*c, env)
	if err != nil {
		return nil, err
	}
	return object.New(object.Retry(newStore(t, c, env), env), env), nil
}

// newStore sends two parts at once over each connection, so that one is on its way
// while the other waits to be synced.
func newStore(fsys filetree.FS, c *Config, env core.Env) *filetree.Store {
	return filetree.New(fsys, filetree.Options{
		Limits: object.Limits{PartSize: cmp.Or(c.PartSize, 16<<20), Workers: 2 * c.connections()},
		Chance: env.Chance, Remote: true, NoLocks: true,
	})
}

func (c *Config) connections() int { return cmp.Or(c.Connections, 4) }

// check answers ErrInvalid for what no server would take.
func (c *Config) check() error {
	for _, err := range []error{c.checkPlace(), c.checkKeys(), c.checkTransfer()} {
		if err != nil {
			return core.Errorf(core.ErrInvalid, "%s: %w", c.Place(), err)
		}
	}
	return nil
}

func (c *Config) checkPlace() error {
	switch {
	case c.Host == "" || strings.ContainsFunc(c.Host, option.Unprintable) || strings.ContainsAny(c.Host, "/@ "):
		return fmt.Errorf("no host is given: sftp://user@host/dir")
	case c.Port < 0 || c.Port > 65535:
		return fmt.Errorf("a port of %d is not from 1 to 65535", c.Port)
	case c.User == "" || strings.ContainsFunc(c.User, option.Unprintable):
		return fmt.Errorf("no user is given: sftp://user@host/dir")
	case c.Dir == "":
		return fmt.Errorf("no directory is given: sftp://user@host/dir, or /~/dir for one below the home directory")
	case len(c.Dir) > 2048:
		return fmt.Errorf("the directory has %d bytes; 2048 are the most", len(c.Dir))
	}
	for word := range strings.SplitSeq(c.Dir, "/") {
		if word == ".." || strings.ContainsFunc(word, option.Unprintable) {
			return fmt.Errorf("the directory has a word %q between its slashes", word)
		}
	}
	if strings.HasPrefix(c.Dir, "~") && c.Dir != "~" && c.Dir[1] != '/' {
		return fmt.Errorf("%q: the home of another user is not known here; write ./%s for a directory of that name", c.Dir, c.Dir)
	}
	return nil
}

const fingerprintPrefix = "SHA256:"

func (c *Config) checkKeys() error {
	switch {
	case !c.Key.IsZero() && c.KeyFile != "":
		return fmt.Errorf("key and key_file are both given")
	case c.Certificate != "" && c.Key.IsZero() && c.KeyFile == "":
		return fmt.Errorf("certificate goes with a key; an ssh-agent has its own")
	case c.HostKey != "" && c.KnownHosts != "":
		return fmt.Errorf("host_key and known_hosts are both given")
	case c.HostKey == "":
		return nil
	}
	text, ok := strings.CutPrefix(c.HostKey, fingerprintPrefix)
	if sum, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "=")); !ok || err != nil || len(sum) != 32 {
		return fmt.Errorf("host_key %q is no fingerprint, which is written SHA256: and 43 characters", c.HostKey)
	}
	return nil
}

func (c *Config) checkTransfer() error {
	switch {
	case c.Connections < 0 || c.Connections > 16:
		return fmt.Errorf("connections=%d is not from 1 to 16", c.Connections)
	case c.PartSize != 0 && (c.PartSize < 1<<20 || c.PartSize > 1<<30):
		return fmt.Errorf("a part_size of %d bytes is not from 1MiB to 1GiB", c.PartSize)
	}
	return nil
}
