package core_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A place takes any URL and remembers it.
type place struct {
	kind string
	url  *url.URL
}

func (p *place) SetURL(u *url.URL) error {
	p.url = u
	if u.Query().Has("unknown") {
		return core.Errorf(core.ErrInvalid, "an unknown option")
	}
	return nil
}
func (p *place) Place() string                                      { return p.kind }
func (p *place) Open(context.Context, core.Env) (core.Agent, error) { return nil, core.ErrUnsupported }

func linked(names ...string) (ks core.Kinds) {
	schemes := map[string][]string{"local": {"", "local"}, "s3": {"s3"}, "gcs": {"gs", "gcs"}}
	for _, name := range names {
		ks = append(ks, core.Kind{Name: name, Schemes: schemes[name], Config: func() core.Config { return &place{kind: name} }})
	}
	return ks
}

func TestParsePlace(t *testing.T) {
	tests := []struct{ place, kind, path string }{
		{"dir", "local", "dir"},
		{"./dir", "local", "./dir"},
		{"/dir", "local", "/dir"},
		{"../dir", "local", "../dir"},
		{".", "local", "."},
		{"./a:b", "local", "./a:b"},
		{"/a:b", "local", "/a:b"},
		{"a b:c", "local", "a b:c"},
		{":a", "local", ":a"},
		{"user@host:dir", "local", "user@host:dir"},
		{"./s3://x", "local", "./s3://x"},
		{`C:\x`, "local", `C:\x`},
		{"c:/x", "local", "c:/x"},
		{"dir?x=%zz#y", "local", "dir?x=%zz#y"},
		{"-", "local", "-"},
		{"é:b", "local", "é:b"},
		{"local:/dir", "local", "/dir"},
		{"s3://bucket/prefix?region=eu", "s3", "/prefix"},
		{"S3://bucket/prefix", "s3", "/prefix"},
		{"gs://bucket/p", "gcs", "/p"},
		{"gcs://user@bucket/p", "gcs", "/p"},
	}
	ks := linked("local", "s3", "gcs")
	for _, test := range tests {
		config, err := ks.Parse(test.place)
		if err != nil {
			t.Errorf("%q: %v", test.place, err)
			continue
		}
		if p := config.(*place); p.kind != test.kind || p.url.Path != test.path {
			t.Errorf("%q: %s with path %q", test.place, p.kind, p.url.Path)
		}
	}
}

func TestParsePlaceRefuses(t *testing.T) {
	all := []string{"a directory", "gcs:", "gs:", "local:", "s3:"}
	tests := []struct {
		place string
		says  []string
	}{
		{"", []string{"empty"}},
		{"ftp://host/dir", append(all, `"ftp:"`)},
		{"b2:bucket", append(all, `"b2:"`)},
		{"user:hunter2@host/dir", append(all, `"user:"`)},
		{"s3://key:hunter2@bucket/prefix", []string{"password", `"s3:"`}},
		{"s3://key:@bucket/prefix", []string{"password"}},
		{"ftp://key:hunter2@host", []string{"password"}},
		{"s3://key:hunter2/x@bucket", []string{`"s3:"`}},
		{"s3://key:%zzhunter2@bucket", []string{`"s3:"`}},
		{"s3://[hunter2", []string{`"s3:"`}},
		{"s3://bucket/hunter2\x7f", []string{`"s3:"`}},
		{"s3://bucket/hunter2?unknown=1", []string{"unknown option"}},
		{"1s:b", nil},
	}
	for _, test := range tests {
		_, err := linked("local", "s3", "gcs").Parse(test.place)
		if core.KindOf(err) != core.ErrInvalid {
			t.Errorf("%q: %v", test.place, err)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "bucket") {
			t.Errorf("%q is repeated: %v", test.place, err)
		}
		for _, want := range test.says {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v; want %q in it", test.place, err, want)
			}
		}
	}
}

func TestParsePlaceNamesWhatIsLinked(t *testing.T) {
	_, err := linked("s3").Parse("./dir")
	if want := "invalid: no agent for a directory here: known are s3:"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestEnvWithDefaults(t *testing.T) {
	env := core.Env{}.WithDefaults()
	ctx, cancel := context.WithCancelCause(t.Context())
	if err := env.Limit.WaitN(ctx, 1<<30); err != nil {
		t.Errorf("no limit holds back: %v", err)
	}
	cancel(io.ErrClosedPipe)
	if err := env.Limit.WaitN(ctx, 1); err != io.ErrClosedPipe {
		t.Errorf("after the end of its context: %v", err)
	}
	if n, err := env.Chance.Read(make([]byte, 8)); n != 8 || err != nil {
		t.Errorf("chance: %d, %v", n, err)
	}
	if env.Now == nil || env.Dial == nil || env.Log == nil || env.Progress == nil {
		t.Errorf("%+v", env)
	}
	env.Log.Info("heard by nobody")
	env.Progress(core.Progress{})

	now := time.Unix(1, 0)
	own := core.Env{Name: "n", Now: func() time.Time { return now }, Transport: http.DefaultTransport, StateDir: "s", CacheDir: "c", Log: slog.Default()}
	if got := own.WithDefaults(); !got.Now().Equal(now) || got.Log != slog.Default() || got.Name != "n" || got.StateDir != "s" || got.CacheDir != "c" || got.Transport == nil {
		t.Errorf("what was given is lost: %+v", got)
	}
}
