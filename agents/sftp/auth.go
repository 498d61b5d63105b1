package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/offsite-backup/offsite/core"
)

// credentials show the server who we are.
type credentials struct {
	signers  []ssh.Signer     // of the key that is given
	cert     *ssh.Certificate // of it, or nil
	password core.Secret
	socket   string // of the ssh-agent, where neither is given
}

func (c *Config) credentials() (*credentials, error) {
	had := &credentials{password: c.Password}
	if c.Key.IsZero() && c.KeyFile == "" {
		if c.Password.IsZero() {
			had.socket = os.Getenv("SSH_AUTH_SOCK")
		}
		return had, nil
	}
	signer, err := c.signer()
	if err != nil {
		return nil, err
	}
	had.signers = []ssh.Signer{signer}
	if had.cert, err = c.certificate(); err != nil || had.cert == nil {
		return had, err
	}
	certified, err := ssh.NewCertSigner(had.cert, signer)
	if err != nil {
		return nil, fmt.Errorf("the certificate is not of this key: %w", err)
	}
	had.signers = []ssh.Signer{certified, signer}
	return had, nil
}

// signer reads the key. No error of it has a secret in it.
func (c *Config) signer() (ssh.Signer, error) {
	text, what := []byte(c.Key.Reveal()), "the key"
	if c.KeyFile != "" {
		var err error
		if text, err = os.ReadFile(c.KeyFile); err != nil {
			return nil, fmt.Errorf("the key: %w", err)
		}
		what = "the key in " + c.KeyFile
	}
	signer, err := ssh.ParsePrivateKey(text)
	if locked := (*ssh.PassphraseMissingError)(nil); errors.As(err, &locked) {
		if c.Passphrase.IsZero() {
			return nil, fmt.Errorf("%s has a passphrase: give it as passphrase, or with a URL in %s", what, passphraseVariable)
		}
		signer, err = ssh.ParsePrivateKeyWithPassphrase(text, []byte(c.Passphrase.Reveal()))
		if err != nil {
			return nil, fmt.Errorf("the passphrase does not open %s", what)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s is no private key: %w", what, err)
	}
	return signer, nil
}

// certificate reads that of the key, where there is one.
func (c *Config) certificate() (*ssh.Certificate, error) {
	file := c.Certificate
	if file == "" && c.KeyFile != "" {
		file = c.KeyFile + "-cert.pub"
	}
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if c.Certificate == "" && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the certificate: %w", err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	cert, ok := key.(*ssh.Certificate)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s is no certificate", file)
	}
	return cert, nil
}

var errNoCredentials = core.Errorf(core.ErrUnauthenticated, "there is neither a key nor a password: give key=FILE, or start an ssh-agent, which SSH_AUTH_SOCK names")

// methods are the ways to log in once. The caller calls end when that is over.
func (c *credentials) methods(ctx context.Context) (all []ssh.AuthMethod, end func(), err error) {
	end = func() {}
	switch {
	case len(c.signers) > 0:
		all = append(all, ssh.PublicKeys(c.signers...))
	case c.socket != "":
		conn, err := new(net.Dialer).DialContext(ctx, "unix", c.socket)
		if err != nil {
			return nil, end, core.Errorf(core.ErrUnauthenticated, "the ssh-agent at SSH_AUTH_SOCK does not answer: %w", err)
		}
		unhook := context.AfterFunc(ctx, func() { _ = conn.Close() }) // so that it ends
		end = func() { unhook(); _ = conn.Close() }
		all = append(all, ssh.PublicKeysCallback(agent.NewClient(quietly{conn}).Signers))
	case c.password.IsZero():
		return nil, end, errNoCredentials
	}
	if !c.password.IsZero() {
		all = append(all, ssh.Password(c.password.Reveal()), ssh.KeyboardInteractive(c.answer))
	}
	return all, end, nil
}

// quietly hides from the agent's client that the connection is one, so that it does
// nothing else with it.
type quietly struct{ io.ReadWriter }

// answer gives the password to the one question that asks for it.
func (c *credentials) answer(_, _ string, questions []string, echos []bool) ([]string, error) {
	switch {
	case len(questions) == 0:
		return nil, nil
	case len(questions) > 1 || echos[0]:
		return nil, errors.New("the server asks for more than a password")
	}
	return []string{c.password.Reveal()}, nil
}

// refused is what a person can do when the server did not take them.
func (c *credentials) refused(now time.Time) string {
	switch {
	case c.cert != nil && c.cert.ValidBefore != ssh.CertTimeInfinity && now.Unix() >= int64(c.cert.ValidBefore):
		return fmt.Sprintf("the certificate expired on %s: get a new one", time.Unix(int64(c.cert.ValidBefore), 0).UTC().Format(time.RFC3339))
	case c.cert != nil && now.Unix() < int64(c.cert.ValidAfter):
		return fmt.Sprintf("the certificate is not valid before %s", time.Unix(int64(c.cert.ValidAfter), 0).UTC().Format(time.RFC3339))
	case len(c.signers) > 0:
		key := c.signers[len(c.signers)-1].PublicKey()
		return fmt.Sprintf("the key %s has to stand in authorized_keys at the server, or be certified by an authority that it trusts", ssh.FingerprintSHA256(key))
	case c.socket != "":
		return "none of the keys of the ssh-agent is accepted: add one with ssh-add, or give key=FILE"
	}
	return "look at user and password"
}
