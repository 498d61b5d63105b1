package azure

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

func TestURL(t *testing.T) {
	for text, want := range map[string]Config{
		"azblob://backups":                   {Container: "backups"},
		"azblob://backups/":                  {Container: "backups"},
		"azblob://my-backups-1/a/b c/":       {Container: "my-backups-1", Prefix: "a/b c"},
		"azblob://backups/p?account=acme123": {Container: "backups", Prefix: "p", Account: "acme123"},
		"azblob://backups?endpoint=http://[::1]:10000/devstoreaccount1&ca_bundle=/etc/ca.pem": {
			Container: "backups", Endpoint: "http://[::1]:10000/devstoreaccount1", CABundle: "/etc/ca.pem",
		},
		"azblob://backups?tier=Cool&encryption_scope=acme&client_id=0123": {
			Container: "backups", Tier: "Cool", EncryptionScope: "acme", ClientID: "0123",
		},
		"azblob://backups?lock=locked&lock_for=30d&part_size=64MiB&concurrency=3": {
			Container: "backups", Lock: "locked", LockFor: 30 * 24 * time.Hour, PartSize: 64 << 20, Concurrency: 3,
		},
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		var got Config
		if err := got.SetURL(u); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v, %v; want %+v", text, got, err, want)
		}
	}
}

// What is refused says which option it is about and what is known, and repeats
// nothing that may be a secret.
func TestWrongURL(t *testing.T) {
	for text, want := range map[string]string{
		"azblob://":                                             "no container",
		"azblob:backups/prefix":                                 "azblob://container/prefix",
		"azblob://canary@backups":                               "credentials come from",
		"azblob://backups#canary":                               "azblob://container/prefix",
		"azblob://Backups":                                      "no container's name",
		"azblob://backups:10000":                                "no container's name",
		"azblob://ab":                                           "no container's name",
		"azblob://a--b":                                         "no container's name",
		"azblob://" + strings.Repeat("a", 64):                   "no container's name",
		"azblob://backups/a//b":                                 `a word ""`,
		"azblob://backups/a/../b":                               `a word ".."`,
		"azblob://backups/a./b":                                 `a word "a."`,
		"azblob://backups/a%00b":                                "a word",
		"azblob://backups/a%5Cb":                                "a word",
		"azblob://backups/a%FFb":                                "a word",
		"azblob://backups?key=canary":                           `no option "key"; known are account, ca_bundle, client_id, concurrency, encryption_scope, endpoint, lock, lock_for, part_size, tier`,
		"azblob://backups?sas=canary":                           `no option "sas"`,
		"azblob://backups?account=Acme":                         "no account's name",
		"azblob://backups?endpoint=azurite:10000":               "no URL such as https://account.blob.core.windows.net",
		"azblob://backups?endpoint=https://u:canary@host":       "no URL such as",
		"azblob://backups?endpoint=https://host%3Fsig%3Dcanary": "no URL such as",
		"azblob://backups?tier=Frozen":                          "known are Hot, Cool, Cold, Archive",
		"azblob://backups?tier=P10":                             "no tier",
		"azblob://backups?lock=governance&lock_for=1d":          "known are unlocked, locked",
		"azblob://backups?lock=locked":                          "lock and lock_for go together",
		"azblob://backups?lock_for=1d":                          "lock and lock_for go together",
		"azblob://backups?part_size=512KiB":                     "from 1MiB to 4000MiB",
		"azblob://backups?part_size=4001MiB":                    "from 1MiB to 4000MiB",
		"azblob://backups?concurrency=65":                       "from 1 to 64",
		"azblob://backups/" + strings.Repeat("a", 600):          "512 are the most",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		err = new(Config).SetURL(u)
		prove.Kind(t, text, err, core.ErrInvalid)
		if err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}

// A time to lock for that is over before it begins locks nothing.
func TestNegativeLock(t *testing.T) {
	c := &Config{Container: "backups", Account: "acme", Lock: "locked", LockFor: -time.Hour}
	_, err := c.Open(t.Context(), core.Env{})
	prove.Kind(t, "a lock of minus an hour", err, core.ErrInvalid)
}

func TestPlace(t *testing.T) {
	for want, c := range map[string]*Config{
		"azure:backups":               {Container: "backups"},
		"azure:acme/backups/a/b":      {Container: "backups", Prefix: "a/b", Account: "acme"},
		"azure:azurite:10000/backups": {Container: "backups", Endpoint: "http://azurite:10000/devstoreaccount1"},
	} {
		if got := c.Place(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
