package option_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/option"
)

// What agents check of their options says what is wrong and what is known, and repeats
// nothing that may be a secret.
func TestChecks(t *testing.T) {
	endpoint := func(text string) error { return option.Endpoint(text, "https://host:port") }
	lock := func(mode string, d time.Duration) error { return option.Lock(mode, d, "weak", "strong") }
	size := func(n int64) error { return option.PartSize(n, 1<<20, 5<<30) }
	for _, test := range []struct {
		err  error
		want string // "" is none
	}{
		{option.OneOf("tier", "", "Hot"), ""},
		{option.OneOf("tier", "Hot", "Cool", "Hot"), ""},
		{option.OneOf("tier", "hot", "Cool", "Hot"), `no tier "hot"; known are Cool, Hot`},

		{option.Prefix(""), ""},
		{option.Prefix("a/b c/.d/e."), ""},
		{option.Prefix(strings.Repeat("a", 512)), ""},
		{option.Prefix(strings.Repeat("a", 513)), "the prefix has 513 bytes; 512 are the most"},
		{option.Prefix("a//b"), `a word "" between`},
		{option.Prefix("/a"), `a word "" between`},
		{option.Prefix("a/"), `a word "" between`},
		{option.Prefix("a/./b"), `a word "." between`},
		{option.Prefix("a/.."), `a word ".." between`},
		{option.Prefix("a\x00b"), `a word "a\x00b" between`},
		{option.Prefix(`a\b`), `a word "a\\b" between`},
		{option.Prefix("a\xffb"), `a word "a\xffb" between`},

		{endpoint(""), ""},
		{endpoint("http://[::1]:9000"), ""},
		{endpoint("https://host/path"), ""},
		{endpoint("host:9000"), "no URL such as https://host:port"},
		{endpoint("ftp://host"), "no URL such as"},
		{endpoint("https://"), "no URL such as"},
		{endpoint("https://u:canary@host"), "no URL such as"},
		{endpoint("https://host?sig=canary"), "no URL such as"},
		{endpoint("https://host#canary"), "no URL such as"},
		{endpoint("https://host:canary"), "no URL such as"},

		{lock("", 0), ""},
		{lock("strong", time.Hour), ""},
		{lock("strong", 0), "lock and lock_for go together, such as lock=weak&lock_for=30d"},
		{lock("", time.Hour), "go together"},
		{lock("weak", -time.Hour), "go together"},
		{lock("none", time.Hour), `no lock "none"; known are weak, strong`},

		{option.Concurrency(0), ""},
		{option.Concurrency(64), ""},
		{option.Concurrency(65), "a concurrency of 65 is not from 1 to 64"},
		{option.Concurrency(-1), "from 1 to 64"},

		{size(0), ""},
		{size(1 << 20), ""},
		{size(5 << 30), ""},
		{size(1<<20 - 1), "a part_size of 1048575 bytes is not from 1MiB to 5GiB"},
		{size(5<<30 + 1), "from 1MiB to 5GiB"},
		{size(-1), "from 1MiB to 5GiB"},
		{option.PartSize(1, 1000, 4000<<20), "from 1000B to 4000MiB"},
		{option.PartSize(1, 256<<10, 4000<<20), "from 256KiB to"},
	} {
		if (test.err == nil) != (test.want == "") || test.err != nil && (!strings.Contains(test.err.Error(), test.want) || strings.Contains(test.err.Error(), "canary")) {
			t.Errorf("%v, want %q", test.err, test.want)
		}
	}
}

func TestInvalid(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	if err := option.Invalid("s3:b", nil, nil); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	err := option.Invalid("s3:b", nil, first, second)
	if !errors.Is(err, core.ErrInvalid) || !errors.Is(err, first) || errors.Is(err, second) || !strings.Contains(err.Error(), "s3:b: first") {
		t.Errorf("%v", err)
	}
}

func TestPlace(t *testing.T) {
	for want, got := range map[string]string{
		"s3:bucket":               option.Place("s3", "", "bucket", ""),
		"s3:bucket/a/b":           option.Place("s3", "", "bucket", "a/b"),
		"s3:host:9000/bucket/a":   option.Place("s3", "https://host:9000/path", "bucket", "a"),
		"azure:acme/c":            option.Place("azure", "", "acme", "c", ""),
		"azure:h/c":               option.Place("azure", "http://h/acme", "", "c", ""),
		"s3:bucket/of-no-address": option.Place("s3", "%", "bucket", "of-no-address"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
