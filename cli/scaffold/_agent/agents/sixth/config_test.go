package sixth

import (
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

func TestURL(t *testing.T) {
	for text, want := range map[string]Config{
		"://bucket":      {Bucket: "bucket"},
		"://bucket/a/b/": {Bucket: "bucket", Prefix: "a/b"},
		"://bucket?endpoint=https://host:9000&part_size=64MiB&concurrency=3": {
			Bucket: "bucket", Endpoint: "https://host:9000", PartSize: 64 << 20, Concurrency: 3,
		},
	} {
		u, err := url.Parse(name + text)
		if err != nil {
			t.Fatal(err)
		}
		var got Config
		if err := got.SetURL(u); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %+v, %v; want %+v", text, got, err, want)
		}
	}
}

// What is refused says which option it is about, and repeats nothing that may be a
// secret.
func TestWrongURL(t *testing.T) {
	for text, want := range map[string]string{
		"://":                                      "no bucket",
		"://canary@bucket":                         "://bucket/prefix",
		"://bucket/a/../b":                         `a word ".."`,
		"://bucket?bucket=canary":                  `no option "bucket"; known are concurrency, endpoint, part_size`,
		"://bucket?endpoint=https://canary@host":   "the endpoint is no URL",
		"://bucket?endpoint=https://host?k=canary": "the endpoint is no URL",
		"://bucket?part_size=1KiB":                 "part_size",
		"://bucket?concurrency=65":                 "concurrency",
	} {
		u, err := url.Parse(name + text)
		if err != nil {
			t.Fatal(err)
		}
		err = new(Config).SetURL(u)
		prove.Kind(t, text, err, core.ErrInvalid)
		if err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
