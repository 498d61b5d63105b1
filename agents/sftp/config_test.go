package sftp

import (
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

const pinned = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"

func TestURL(t *testing.T) {
	t.Setenv(passwordVariable, "")
	t.Setenv(passphraseVariable, "")
	for text, want := range map[string]Config{
		"sftp://me@nas/srv":                  {Host: "nas", User: "me", Dir: "/srv"},
		"sftp://me@nas:2222/srv/a%20b/":      {Host: "nas", Port: 2222, User: "me", Dir: "/srv/a b"},
		"sftp://me@nas/":                     {Host: "nas", User: "me", Dir: "/"},
		"sftp://me@nas/~":                    {Host: "nas", User: "me", Dir: "~"},
		"sftp://me@nas/~/":                   {Host: "nas", User: "me", Dir: "~"},
		"sftp://me@nas/~/web1":               {Host: "nas", User: "me", Dir: "~/web1"},
		"sftp://me@nas/srv/~/x":              {Host: "nas", User: "me", Dir: "/srv/~/x"},
		"sftp://a%40b@[fe80::1]/srv":         {Host: "fe80::1", User: "a@b", Dir: "/srv"},
		"sftp://me@nas/d?key=/etc/k":         {Host: "nas", User: "me", Dir: "/d", KeyFile: "/etc/k"},
		"sftp://me@nas/d?key_file=/a%26b":    {Host: "nas", User: "me", Dir: "/d", KeyFile: "/a&b"},
		"sftp://me@nas/d?host_key=" + pinned: {Host: "nas", User: "me", Dir: "/d", HostKey: strings.ReplaceAll(pinned, "+", " ")},
		"sftp://me@nas/d?known_hosts=/h&key=/k&certificate=/c&connections=2&part_size=1MiB": {
			Host: "nas", User: "me", Dir: "/d", KnownHosts: "/h", KeyFile: "/k", Certificate: "/c", Connections: 2, PartSize: 1 << 20,
		},
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		var got Config
		if strings.Contains(want.HostKey, " ") { // a plus in a query is a space
			u.RawQuery, want.HostKey = strings.ReplaceAll(u.RawQuery, "+", "%2B"), pinned
		}
		if err := got.SetURL(u); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v, %v; want %+v", text, got, err, want)
		}
	}
}

// What is refused says which option it is about and what is known.
func TestWrongURL(t *testing.T) {
	for text, want := range map[string]string{
		"sftp://":                  "no host",
		"sftp:nas:/dir":            "sftp://user@host",
		"sftp:///dir":              "no host",
		"sftp://nas/dir":           "no user",
		"sftp://me@nas":            "no directory",
		"sftp://me@nas/dir#canary": "sftp://user@host",
		"sftp://me@nas:0/dir":      "no port",
		"sftp://me@nas:65536/dir":  "from 1 to 65535",
		"sftp://me@nas/a/../b":     `a word ".."`,
		"sftp://me@nas/a%00b":      "a word",
		"sftp://me@nas/a%5Cb":      "a word",
		"sftp://me@nas/" + strings.Repeat("x/", 1100):                        "2048 are the most",
		"sftp://me@nas/d?password=canary":                                    `no option "password"; known are certificate, connections, host_key, key_file, known_hosts, part_size`,
		"sftp://me@nas/d?host=canary":                                        `no option "host"`,
		"sftp://me@nas/d?key=/a&key_file=/b":                                 "given twice",
		"sftp://me@nas/d?connections=17":                                     "from 1 to 16",
		"sftp://me@nas/d?part_size=1KiB":                                     "from 1MiB to 1GiB",
		"sftp://me@nas/d?host_key=SHA256:abcd":                               "no fingerprint",
		"sftp://me@nas/d?host_key=MD5:aa:bb":                                 "no fingerprint",
		"sftp://me@nas/d?certificate=/c":                                     "goes with a key",
		"sftp://me@nas/d?known_hosts=/h&host_key=" + url.QueryEscape(pinned): "both given",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		err = new(Config).SetURL(u)
		prove.Kind(t, text, err, core.ErrInvalid)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "=canary") {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}

func TestPlace(t *testing.T) {
	for want, c := range map[string]Config{
		"sftp:me@nas/srv":            {Host: "nas", User: "me", Dir: "/srv"},
		"sftp:me@nas:2222/srv":       {Host: "nas", Port: 2222, User: "me", Dir: "/srv"},
		"sftp:me@[fe80::1]/srv":      {Host: "fe80::1", Port: 22, User: "me", Dir: "/srv/"},
		"sftp:me@[fe80::1]:2222/srv": {Host: "fe80::1", Port: 2222, User: "me", Dir: "/srv"},
		"sftp:me@nas/~/web1":         {Host: "nas", User: "me", Dir: "web1"},
		"sftp:me@nas/~/web":          {Host: "nas", User: "me", Dir: "~/web"},
		"sftp:me@nas/~":              {Host: "nas", User: "me", Dir: "~"},
		"sftp:me@nas/":               {Host: "nas", User: "me", Dir: "/"},
	} {
		if got := c.Place(); got != want {
			t.Errorf("%+v is at %q, want %q", c, got, want)
		}
	}
}

// What is wrong with keys and files is found before anything is asked.
func TestWrongFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	locked := file("locked", lockedKey(t))
	hosts := file("hosts", "")
	good, err := emulator.StartPkgSFTP(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer good.Stop()
	for want, c := range map[string]Config{
		"no such file":                        {KeyFile: filepath.Join(dir, "none"), KnownHosts: hosts},
		"is no private key":                   {KeyFile: file("junk", "canary"), KnownHosts: hosts},
		"the key is no private key":           {Key: core.NewSecret("canary"), KnownHosts: hosts},
		"has a passphrase":                    {KeyFile: locked, KnownHosts: hosts},
		"the passphrase does not open":        {KeyFile: locked, Passphrase: core.NewSecret("canary"), KnownHosts: hosts},
		"is no certificate":                   {KeyFile: good.Key, Certificate: good.Key, KnownHosts: hosts},
		"the certificate: open":               {KeyFile: good.Key, Certificate: filepath.Join(dir, "none"), KnownHosts: hosts},
		"the known hosts: open":               {KeyFile: good.Key, KnownHosts: filepath.Join(dir, "none")},
		"the known hosts: knownhosts: " + dir: {KeyFile: good.Key, KnownHosts: file("torn", "nas ssh-ed25519\n")},
		"key and key_file are both given":     {KeyFile: good.Key, Key: core.NewSecret("canary"), KnownHosts: hosts},
	} {
		c.Host, c.User, c.Dir = "nas", "me", "/srv"
		_, err := c.Open(t.Context(), core.Env{})
		prove.Kind(t, want, err, core.ErrInvalid)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

// A server that is to be shown a key is not told a password that is another's.
func TestPasswordIsForWhoHasNoKey(t *testing.T) {
	t.Setenv("OFFSITE_SFTP_PASSWORD", "canary")
	for text, want := range map[string]bool{"sftp://me@nas/srv": true, "sftp://me@nas/srv?key=/etc/key": false} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		c := new(Config)
		if err := c.SetURL(u); err != nil || c.Password.IsZero() == want {
			t.Errorf("%s: a password: %v, want %v; %v", text, !c.Password.IsZero(), want, err)
		}
	}
}
