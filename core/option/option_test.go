package option_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/option"
)

type common struct{ Limit int64 }

type place struct {
	common
	Bucket    string `config:"required"`
	CABundle  string `config:"path"`
	SSE       string
	PathStyle *bool
	Workers   int
	PartSize  int64
	LockFor   time.Duration
	Verbose   bool
	Password  core.Secret
	Hosts     []string `config:"required,set"`
	Opened    func()   `config:"-"`
	hidden    string
}

// TestOf finds exported fields, and says what their tags say.
func TestOf(t *testing.T) {
	var names []string
	for _, o := range option.Of(reflect.TypeFor[place]()) {
		names = append(names, o.Name)
		if got, want := o.Tag.Has("required"), o.Name == "bucket" || o.Name == "hosts"; got != want {
			t.Errorf("%s is required: %v", o.Name, got)
		}
		if o.Tag.Has("") && o.Tag != "" {
			t.Errorf("%s has an empty word", o.Name)
		}
	}
	want := "limit bucket ca_bundle sse path_style workers part_size lock_for verbose password hosts"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	_ = place{}.hidden
}

// TestSetQuery sets each option to what its text means.
func TestSetQuery(t *testing.T) {
	yes := true
	for query, want := range map[string]place{
		"":                                       {},
		"ca_bundle=a%26b&sse=aws%3Akms":          {CABundle: "a&b", SSE: "aws:kms"},
		"path_style=true&verbose=true&workers=7": {PathStyle: &yes, Verbose: true, Workers: 7},
		"part_size=5MiB&lock_for=1d12h&limit=1":  {PartSize: 5 << 20, LockFor: 36 * time.Hour, common: common{1}},
	} {
		var got place
		if err := option.SetQuery(&got, query, "bucket"); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", query, got, err)
		}
	}
}

// TestWrongQuery says what is wrong and what is known.
func TestWrongQuery(t *testing.T) {
	for query, want := range map[string]string{
		"bucket=x":                `no option "bucket"; known are ca_bundle, limit, lock_for, part_size, path_style, sse, verbose, workers`,
		"password=canary":         `no option "password"`,
		"hosts=x":                 `no option "hosts"`,
		"hidden=x":                `no option "hidden"`,
		"opened=x":                `no option "opened"`,
		"canary%zz":               "?option=value",
		"sse=a&sse=a":             "option sse is given twice",
		"sse=":                    "option sse is empty",
		"sse":                     "option sse is empty",
		"verbose=1":               `option verbose: "1" is not true or false`,
		"path_style=yes":          `option path_style: "yes" is not true or false`,
		"workers=0":               `option workers: "0" is not a number from 1`,
		"part_size=32MB":          `option part_size: "32MB" is not a size such as 32MiB`,
		"part_size=9999999999TiB": "is not a size",
		"lock_for=30":             "is not a time such as",
		"lock_for=200000000d":     "is not a time such as",
	} {
		err := option.SetQuery(new(place), query, "bucket")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v; want %q", query, err, want)
		}
	}
	if err := option.SetQuery(new(struct{}), "a=b"); err == nil || !strings.Contains(err.Error(), "it takes none") {
		t.Errorf("no options: %v", err)
	}
}

// TestWrongQueryTellsTheSame of several mistakes, each time.
func TestWrongQueryTellsTheSame(t *testing.T) {
	for range 100 {
		err := option.SetQuery(new(place), "workers=0&sse=&verbose=1&part_size=x", "bucket")
		if err == nil || !strings.HasPrefix(err.Error(), "option part_size: ") {
			t.Fatal(err)
		}
	}
}

// FuzzSetQuery: what a URL holds is taken or refused, and what is taken is so again.
func FuzzSetQuery(f *testing.F) {
	f.Add("ca_bundle=a%26b&part_size=5MiB&lock_for=1d12h&path_style=false")
	f.Add("workers=99999999999999999999&verbose=TRUE&sse")
	f.Fuzz(func(t *testing.T, query string) {
		var one, two place
		err := option.SetQuery(&one, query, "bucket")
		if again := option.SetQuery(&two, query, "bucket"); (err == nil) != (again == nil) {
			t.Fatalf("%q: %v, then %v", query, err, again)
		}
		if err == nil && (!reflect.DeepEqual(one, two) || one.Workers < 0 || one.PartSize < 0 || one.LockFor < 0 || one.Bucket != "") {
			t.Errorf("%q: %+v, %+v", query, one, two)
		}
	})
}
