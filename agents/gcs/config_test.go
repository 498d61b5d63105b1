package gcs

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

const someKey = "projects/p/locations/l/keyRings/r/cryptoKeys/k"

func TestURL(t *testing.T) {
	for text, want := range map[string]Config{
		"gs://bucket":                       {Bucket: "bucket"},
		"gs://bucket/":                      {Bucket: "bucket"},
		"gs://my_bucket.1-x/a/b c/":         {Bucket: "my_bucket.1-x", Prefix: "a/b c"},
		"gs://bucket/p?quota_project=team":  {Bucket: "bucket", Prefix: "p", QuotaProject: "team"},
		"gs://bucket?credentials=/etc/key":  {Bucket: "bucket", Credentials: "/etc/key"},
		"gs://bucket?storage_class=ARCHIVE": {Bucket: "bucket", StorageClass: "ARCHIVE"},
		"gs://bucket?kms_key=" + someKey:    {Bucket: "bucket", KMSKey: someKey},
		"gs://bucket?endpoint=https://[::1]:9000&ca_bundle=/etc/ca.pem": {
			Bucket: "bucket", Endpoint: "https://[::1]:9000", CABundle: "/etc/ca.pem",
		},
		"gs://bucket?endpoint=http://emulator:4443&emulator=true": {Bucket: "bucket", Endpoint: "http://emulator:4443", Emulator: true},
		"gs://bucket?endpoint=http://127.0.0.1:4443":              {Bucket: "bucket", Endpoint: "http://127.0.0.1:4443"},
		"gs://bucket?lock=locked&lock_for=30d&upload=session&part_size=64MiB&concurrency=3": {
			Bucket: "bucket", Lock: "locked", LockFor: 30 * 24 * time.Hour, Upload: "session", PartSize: 64 << 20, Concurrency: 3,
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
		"gs://":                                          "no bucket",
		"gs:bucket/prefix":                               "gs://bucket/prefix",
		"gs://canary@bucket":                             "credentials come from",
		"gs://bucket#canary":                             "gs://bucket/prefix",
		"gs://Bucket":                                    "no bucket's name",
		"gs://bucket:9000":                               "no bucket's name",
		"gs://b":                                         "no bucket's name",
		"gs://" + strings.Repeat("b", 64):                "no bucket's name",
		"gs://bucket/a//b":                               `a word ""`,
		"gs://bucket/a/../b":                             `a word ".."`,
		"gs://bucket/.":                                  `a word "."`,
		"gs://bucket/a%00b":                              "a word",
		"gs://bucket/a%5Cb":                              "a word",
		"gs://bucket/a%FFb":                              "a word",
		"gs://bucket/" + strings.Repeat("a", 600):        "512 are the most",
		"gs://bucket?secret=canary":                      `no option "secret"; known are ca_bundle, concurrency, credentials, emulator, endpoint, kms_key, lock, lock_for, part_size, quota_project, storage_class, upload`,
		"gs://bucket?canary%zz":                          "?option=value",
		"gs://bucket?quota_project=":                     "option quota_project is empty",
		"gs://bucket?endpoint=emulator:4443":             "no URL such as https://host:port",
		"gs://bucket?endpoint=ftp://emulator":            "no URL such as https://host:port",
		"gs://bucket?endpoint=https://u:canary@host":     "no URL such as https://host:port",
		"gs://bucket?endpoint=https://host%3Fcanary%3Dx": "no URL such as https://host:port",
		"gs://bucket?endpoint=https://host/storage/v1":   "no URL such as https://host:port",
		"gs://bucket?endpoint=http://host":               "not sent over http",
		"gs://bucket?emulator=maybe":                     `"maybe" is not true or false`,
		"gs://bucket?storage_class=COLD":                 "known are STANDARD, NEARLINE, COLDLINE, ARCHIVE",
		"gs://bucket?kms_key=k":                          "projects/P/locations/L/keyRings/R/cryptoKeys/K",
		"gs://bucket?lock=Locked&lock_for=1d":            "known are unlocked, locked",
		"gs://bucket?lock=locked":                        "lock and lock_for go together",
		"gs://bucket?lock_for=1d":                        "lock and lock_for go together",
		"gs://bucket?lock=locked&lock_for=30":            `lock_for: "30" is not a time such as`,
		"gs://bucket?upload=stream":                      "known are auto, parts, session",
		"gs://bucket?part_size=1MB":                      `"1MB" is not a size such as 32MiB`,
		"gs://bucket?part_size=1KiB":                     "from 1MiB to 524MiB",
		"gs://bucket?part_size=525MiB":                   "from 1MiB to 524MiB",
		"gs://bucket?part_size=1048577":                  "in steps of 256KiB",
		"gs://bucket?concurrency=65":                     "from 1 to 64",
		"gs://bucket?concurrency=many":                   `"many" is not a number`,
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

func TestPlace(t *testing.T) {
	for want, c := range map[string]*Config{
		"gcs:bucket": {Bucket: "bucket"}, "gcs:bucket/a/b": {Bucket: "bucket", Prefix: "a/b"},
		"gcs:host:4443/bucket": {Bucket: "bucket", Endpoint: "https://host:4443/"},
	} {
		if got := c.Place(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The variable that switches credentials off is followed on this machine, and on another
// where that is meant.
func TestEmulatorHost(t *testing.T) {
	for _, test := range []struct {
		host, options string
		base          string
		bare          bool
	}{
		{"", "", "https://storage.googleapis.com", false},
		{"", "endpoint=https://other", "https://other", false},
		{"", "endpoint=http://other&emulator=true", "http://other", true},
		{"localhost:4443", "", "http://localhost:4443", true},
		{"http://127.0.0.1:4443", "", "http://127.0.0.1:4443", true},
		{"[::1]:4443", "", "http://[::1]:4443", true},
		{"localhost:4443", "endpoint=https://other", "https://other", false},
		{"emulator:4443", "emulator=true", "http://emulator:4443", true},
		{"emulator:4443", "", "", false},
		{"https://127.0.0.1.example", "", "", false},
		{"http://%zz", "", "", false},
	} {
		t.Setenv("STORAGE_EMULATOR_HOST", test.host)
		c := configured(t, "bucket", test.options)
		s, err := newStore(t.Context(), *c, core.Env{})
		if test.base == "" {
			prove.Kind(t, test.host, err, core.ErrInvalid)
			if _, err := c.Open(t.Context(), core.Env{}); err == nil || !strings.Contains(err.Error(), "STORAGE_EMULATOR_HOST") {
				t.Errorf("%s: %v does not say which variable", test.host, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(test.host, err)
		}
		if _, signed := s.http.Transport.(*identity); s.base != test.base || signed == test.bare {
			t.Errorf("%s %s: %s, with credentials: %v; want %s, %v", test.host, test.options, s.base, signed, test.base, !test.bare)
		}
		_ = s.Close()
	}
}
