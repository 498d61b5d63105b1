package gcs

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	raw "google.golang.org/api/storage/v1"

	"github.com/offsite-backup/offsite/conformance/emulator/fakegcs"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// A creation is what a request that creates an object says of it.
type creation struct {
	what      string
	resource  raw.Object
	kms       string
	condition string
	project   string
}

var jsonPart = regexp.MustCompile(`(?s)\r\n\r\n(\{.*?\})\n`)

// creations are what a store says when it stores an object in one request, begins a
// session for it, and composes it.
func creations(t *testing.T, c *Config, key string) (all []creation) {
	t.Helper()
	rec := new(recorder)
	s := driver(t, c, core.Env{Transport: rec, Now: func() time.Time { return time.Unix(1e9, 0) }})
	_, err := prove.Put(t.Context(), s, key, []byte("body"))
	prove.Kind(t, "a denied request", err, core.ErrDenied)
	_, err = s.beginSession(t.Context(), key, someToken)
	prove.Kind(t, "a denied request", err, core.ErrDenied)
	m := &composite{store: s, key: key, token: someToken}
	_, err = m.compose(t.Context(), s.resource(key, someToken, 1, 2), []piece{{name: "a", generation: 1}})
	prove.Kind(t, "a denied request", err, core.ErrDenied)
	asked, said := rec.seen()
	for i, q := range asked {
		query := q.URL.Query()
		made := creation{what: query.Get("uploadType"), kms: query.Get("kmsKeyName"), condition: query.Get("ifGenerationMatch"), project: q.Header.Get(projectHeader)}
		text := said[i]
		switch {
		case made.what == "multipart":
			text = jsonPart.FindStringSubmatch(text)[1]
		case strings.HasSuffix(q.URL.Path, "/compose"):
			var asked raw.ComposeRequest
			if err := json.Unmarshal([]byte(text), &asked); err != nil || len(asked.SourceObjects) != 1 || asked.SourceObjects[0].Generation != 1 {
				t.Fatalf("composed of %s, %v", text, err)
			}
			made.what, made.resource = "compose", *asked.Destination
			all = append(all, made)
			continue
		}
		if err := json.Unmarshal([]byte(text), &made.resource); err != nil {
			t.Fatal(text, err)
		}
		all = append(all, made)
	}
	if len(all) != 3 {
		t.Fatalf("%d requests, want one of each kind", len(all))
	}
	return all
}

// Each option is seen in the requests that leave the client, and only there.
func TestOptionsInRequests(t *testing.T) {
	const archive, meta, gone, hold = "data/x.tar.zst", "meta/x.json", "gone/x", "hold/x"
	for _, test := range []struct {
		options, key string
		want         string // class, key, lock, until, project
	}{
		{"", archive, "    "},
		{"storage_class=NEARLINE", archive, "NEARLINE    "},
		{"storage_class=NEARLINE", meta, "    "},
		{"storage_class=NEARLINE", gone, "    "},
		{"kms_key=" + someKey, archive, " " + someKey + "   "},
		{"kms_key=" + someKey, hold, " " + someKey + "   "},
		{"lock=unlocked&lock_for=1d", archive, "  Unlocked 2001-09-10T01:46:40Z "},
		{"lock=locked&lock_for=1h", meta, "  Locked 2001-09-09T02:46:40Z "},
		{"lock=locked&lock_for=1h", "sig/x.minisig", "  Locked 2001-09-09T02:46:40Z "},
		{"lock=locked&lock_for=1h", gone, "    "},
		{"lock=locked&lock_for=1h", hold, "    "},
		{"quota_project=team", archive, "    team"},
	} {
		for _, made := range creations(t, configured(t, "bucket", "endpoint=http://127.0.0.1:1&emulator=true&"+test.options), test.key) {
			r := made.resource.Retention
			if r == nil {
				r = new(raw.ObjectRetention)
			}
			if got := strings.Join([]string{made.resource.StorageClass, made.kms, r.Mode, r.RetainUntilTime, made.project}, " "); got != test.want {
				t.Errorf("%s of %s with %q has %q, want %q", made.what, test.key, test.options, got, test.want)
			}
		}
	}
}

// What is created is created once, and compared by the server.
func TestChecksumsInRequests(t *testing.T) {
	want := map[string]string{"multipart": "Jj/JUA== -", "resumable": "- " + someToken, "compose": "AAAAAg== " + someToken}
	for _, made := range creations(t, configured(t, "bucket", "endpoint=http://127.0.0.1:1&emulator=true"), "data/x.tar.zst") {
		or := func(s string) string { return map[bool]string{true: "-", false: s}[s == ""] }
		o := made.resource
		if got := or(o.Crc32c) + " " + or(o.Metadata[tokenKey]); got != want[made.what] {
			t.Errorf("%s has %q, want %q", made.what, got, want[made.what])
		}
		if made.condition != "0" || o.Name != "app/data/x.tar.zst" || o.ContentType != contentType {
			t.Errorf("%s is of %q, %q, on condition %q", made.what, o.Name, o.ContentType, made.condition)
		}
		if has := o.Metadata[sumKey] != ""; has != (made.what != "resumable") {
			t.Errorf("%s has the CRC-64: %v", made.what, has)
		}
	}
}

// A request goes where the options say, and reads of bytes name generation and range.
func TestWhereRequestsGo(t *testing.T) {
	for options, want := range map[string]string{
		"emulator=true&endpoint=http://m:9000": "http://m:9000/storage/v1/b/bucket/o/app%2Fmeta%2Fx",
		"emulator=true&endpoint=https://m/":    "https://m/storage/v1/b/bucket/o/app%2Fmeta%2Fx",
	} {
		rec := new(recorder)
		s := driver(t, configured(t, "bucket", options), core.Env{Transport: rec})
		_, err := s.Stat(t.Context(), "meta/x")
		prove.Kind(t, "a denied request", err, core.ErrDenied)
		_, err = s.Range(t.Context(), object.Object{Key: "meta/x", Size: 100, Version: "7"}, 3, 4)
		prove.Kind(t, "a denied request", err, core.ErrDenied)
		all, _ := rec.seen()
		for _, q := range all {
			if got, _, _ := strings.Cut(q.URL.String(), "?"); got != want {
				t.Errorf("asked %s, want %s", got, want)
			}
		}
		last := all[len(all)-1]
		if last.Header.Get("Range") != "bytes=3-6" || last.URL.Query().Get("generation") != "7" || last.URL.Query().Get("alt") != "media" {
			t.Errorf("bytes are asked for by %s, %v", last.URL, last.Header)
		}
	}
	s := driver(t, configured(t, "bucket", ""), core.Env{})
	if s.base != "https://storage.googleapis.com" {
		t.Errorf("Google's server is %s", s.base)
	}
}

// Credentials come from where Google's tools have them, and go with each request; so
// does the project that they are billed to.
func TestChain(t *testing.T) {
	server := fake.Get(t)
	file := func(name string, doc []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, doc, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	account, err := server.Account(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	subject := file("subject", []byte("a token of another issuer"))
	external, err := server.External(server.URL(), "a token of another issuer", subject)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(account, &fields); err != nil {
		t.Fatal(err)
	}
	fields["quota_project_id"] = "of-the-file"
	billed, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	if err := os.MkdirAll(home+"/.config/gcloud", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(home+"/.config/gcloud/application_default_credentials.json", account, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		env     map[string]string
		options string
		project string
	}{
		"a service account":                   {map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": file("account.json", account)}, "", ""},
		"workload identity federation":        {map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": file("external.json", external)}, "", ""},
		"gcloud's":                            {map[string]string{"HOME": home}, "", ""},
		"a file that is named":                {nil, "credentials=" + file("named.json", account), ""},
		"a project of the file":               {nil, "credentials=" + file("billed.json", billed), "of-the-file"},
		"a project of the environment":        {map[string]string{"GOOGLE_CLOUD_QUOTA_PROJECT": "of-the-environment"}, "credentials=" + file("named.json", account), "of-the-environment"},
		"a project that is named comes first": {map[string]string{"GOOGLE_CLOUD_QUOTA_PROJECT": "of-the-environment"}, "quota_project=named&credentials=" + file("billed.json", billed), "named"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			bucket := newBucket(t, server, fakegcs.Bucket{})
			rec := &recorder{next: http.DefaultTransport}
			s := driver(t, configured(t, bucket.Name, "endpoint="+url.QueryEscape(server.URL())+"&"+test.options), core.Env{Transport: rec})
			if _, err := prove.Put(t.Context(), s, "meta/x", []byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Stat(t.Context(), "meta/x"); err != nil {
				t.Fatal(err)
			}
			all, _ := rec.seen()
			for _, q := range all {
				if !strings.HasPrefix(q.Header.Get("Authorization"), "Bearer ya29.") || q.Header.Get(projectHeader) != test.project {
					t.Errorf("%s has %q and is billed to %q, want %q", q.Method, q.Header.Get("Authorization"), q.Header.Get(projectHeader), test.project)
				}
			}
		})
	}
}

// Missing credentials, files and bundles are errors that say so, at once.
func TestNothingToSignWith(t *testing.T) {
	s := driver(t, configured(t, "bucket", ""), core.Env{Transport: new(recorder)})
	_, err := s.Stat(t.Context(), "meta/x")
	prove.Kind(t, "no credentials", err, core.ErrUnauthenticated)
	if err == nil || !strings.Contains(err.Error(), "GOOGLE_APPLICATION_CREDENTIALS") {
		t.Errorf("%v does not say what to do", err)
	}
	for options, want := range map[string]string{"credentials=/nowhere/key.json": "/nowhere/key.json", "credentials=/dev/null": "credentials", "ca_bundle=/nowhere/ca.pem": "/nowhere/ca.pem", "ca_bundle=/dev/null": "/dev/null"} {
		_, err := configured(t, "bucket", options).Open(t.Context(), core.Env{})
		prove.Kind(t, options, err, core.ErrInvalid)
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", options, err)
		}
	}
}

// Limits are what an upload goes by.
func TestLimits(t *testing.T) {
	for options, want := range map[string]string{
		"":                              `{"PartSize":33554432,"MaxPart":549453824,"MaxParts":10000,"Workers":8}`,
		"part_size=1MiB&concurrency=64": `{"PartSize":1048576,"MaxPart":549453824,"MaxParts":10000,"Workers":64}`,
	} {
		limits := driver(t, configured(t, "bucket", options), core.Env{}).Limits()
		got, err := json.Marshal(limits)
		if err != nil || string(got) != want {
			t.Errorf("%q: %s, %v; want %s", options, got, err, want)
		}
		if all := limits.MaxPart * int64(limits.MaxParts); all > 5<<40 {
			t.Errorf("%d bytes are more than an object may have", all)
		}
		for i := range limits.MaxParts {
			if size := limits.SizeOf(limits.Plan(3<<40), i); size%quantum != 0 {
				t.Fatalf("part %d has %d bytes, which are no chunk of a session", i, size)
			}
		}
	}
}
