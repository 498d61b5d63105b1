package s3

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// fakeKey is one that no server knows.
var fakeKey = emulator.Credentials{ID: "AKIDTEST", Secret: "no-secret"}

// requests are the heads of what a store asks when it stores an object in one
// request, and when it begins one of parts.
func requests(t *testing.T, c *Config, key string) map[string]http.Header {
	t.Helper()
	rec := &prove.Recorder{Next: denied}
	s := driver(t, c, core.Env{Transport: rec, Now: func() time.Time { return time.Unix(1e9, 0) }})
	_, err := prove.Put(t.Context(), s, key, []byte("body"))
	prove.Kind(t, "a denied request", err, core.ErrDenied)
	_, err = s.Begin(t.Context(), key, "0123456789abcdef")
	prove.Kind(t, "a denied request", err, core.ErrDenied)
	all := map[string]http.Header{}
	for _, q := range rec.Seen() {
		all[q.Method] = q.Header
	}
	if len(all) != 2 {
		t.Fatalf("%d kinds of requests, want PUT and POST", len(all))
	}
	return all
}

// Each option is seen in the requests that leave the client, and only there.
func TestOptionsInRequests(t *testing.T) {
	signIn(t, fakeKey)
	const archive, meta, gone, hold = "data/x.tar.zst", "meta/x.json", "gone/x", "hold/x"
	encryption := []string{"X-Amz-Server-Side-Encryption", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "X-Amz-Server-Side-Encryption-Bucket-Key-Enabled"}
	lock := []string{"X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date"}
	class := []string{"X-Amz-Storage-Class"}
	for _, test := range []struct {
		options, key string
		headers      []string
		want         string
	}{
		{"", archive, append(append(class, lock...), encryption...), "     "},
		{"storage_class=STANDARD_IA", archive, class, "STANDARD_IA"},
		{"storage_class=GLACIER", meta, class, ""},
		{"storage_class=GLACIER", gone, class, ""},
		{"sse=AES256", archive, encryption, "AES256  "},
		{"sse=AES256", meta, encryption, "AES256  "},
		{"sse=aws:kms", archive, encryption, "aws:kms  "},
		{"sse=aws:kms&kms_key=alias/x&bucket_key=true", archive, encryption, "aws:kms alias/x true"},
		{"sse=aws:kms&kms_key=alias/x&bucket_key=true", meta, encryption, "aws:kms alias/x true"},
		{"lock=governance&lock_for=1d", archive, lock, "GOVERNANCE 2001-09-10T01:46:40Z"},
		{"lock=compliance&lock_for=1h", meta, lock, "COMPLIANCE 2001-09-09T02:46:40Z"},
		{"lock=compliance&lock_for=1h", "sig/x.minisig", lock, "COMPLIANCE 2001-09-09T02:46:40Z"},
		{"lock=compliance&lock_for=1h", gone, lock, " "},
		{"lock=compliance&lock_for=1h", hold, lock, " "},
	} {
		for method, h := range requests(t, configured(t, "bucket", test.options), test.key) {
			var got []string
			for _, name := range test.headers {
				got = append(got, h.Get(name))
			}
			if got := strings.Join(got, " "); got != test.want {
				t.Errorf("%s of %s with %q has %q, want %q", method, test.key, test.options, got, test.want)
			}
		}
	}
}

// What is created is created once, checked by the server, and not hashed for the
// signature.
func TestChecksumsInRequests(t *testing.T) {
	signIn(t, fakeKey)
	sum := md5.Sum([]byte("body"))
	md, crc := base64.StdEncoding.EncodeToString(sum[:]), *encode(core.CRC64(crc64nvme.Checksum([]byte("body"))))
	for checksum, want := range map[string][]string{
		"auto":      {crc, md, "CRC64NVME FULL_OBJECT"},
		"crc64nvme": {crc, "", "CRC64NVME FULL_OBJECT"},
		"md5":       {"", md, " "},
		"none":      {"", "", " "},
	} {
		all := requests(t, configured(t, "bucket", "checksum="+checksum), "data/x.tar.zst")
		p, b := all[http.MethodPut], all[http.MethodPost]
		got := []string{p.Get("X-Amz-Checksum-Crc64nvme"), p.Get("Content-Md5"), b.Get("X-Amz-Checksum-Algorithm") + " " + b.Get("X-Amz-Checksum-Type")}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s sends %q, want %q", checksum, got, want)
		}
		if p.Get("If-None-Match") != "*" || p.Get("X-Amz-Content-Sha256") != "UNSIGNED-PAYLOAD" || p.Get("X-Amz-Trailer") != "" {
			t.Errorf("%s: a PUT has %v", checksum, p)
		}
		if b.Get("X-Amz-Meta-Offsite-Token") != "0123456789abcdef" {
			t.Errorf("%s: the token is not in %v", checksum, b)
		}
	}
}

// A request goes where the options say: to the bucket's host or to its path, in the
// region.
func TestWhereRequestsGo(t *testing.T) {
	signIn(t, fakeKey)
	for options, want := range map[string]string{
		"":                       "https://bucket.s3.us-east-1.amazonaws.com/app/meta/x us-east-1",
		"region=eu-north-1":      "https://bucket.s3.eu-north-1.amazonaws.com/app/meta/x eu-north-1",
		"path_style=true":        "https://s3.us-east-1.amazonaws.com/bucket/app/meta/x us-east-1",
		"endpoint=http://m:9000": "http://m:9000/bucket/app/meta/x us-east-1",
		"endpoint=https://m/s3":  "https://m/s3/bucket/app/meta/x us-east-1",
		"endpoint=https://m&path_style=false&region=r": "https://bucket.m/app/meta/x r",
	} {
		t.Run(options, func(t *testing.T) { goesTo(t, configured(t, "bucket", options), want) })
	}
	t.Run("AWS_ENDPOINT_URL_S3", func(t *testing.T) {
		t.Setenv("AWS_ENDPOINT_URL_S3", "https://named.by.environment")
		t.Setenv("AWS_REGION", "moon-1")
		goesTo(t, configured(t, "bucket", ""), "https://named.by.environment/bucket/app/meta/x moon-1")
		goesTo(t, configured(t, "bucket", "endpoint=https://m"), "https://m/bucket/app/meta/x moon-1")
	})
}

func goesTo(t *testing.T, c *Config, want string) {
	t.Helper()
	q := asked(t, c)
	_, scope, _ := strings.Cut(q.Header.Get("Authorization"), "Credential=AKIDTEST/")
	parts := strings.Split(scope, "/")
	if got := q.URL.Scheme + "://" + q.URL.Host + q.URL.Path + " " + parts[min(1, len(parts)-1)]; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}

// asked is the first request of a store.
func asked(t *testing.T, c *Config) *http.Request {
	t.Helper()
	rec := &prove.Recorder{Next: denied}
	_, err := driver(t, c, core.Env{Transport: rec}).Stat(t.Context(), "meta/x")
	if all := rec.Seen(); len(all) > 0 {
		return all[0]
	}
	t.Fatalf("nothing was asked: %v", err)
	return nil
}

// Credentials come from where the AWS command line has them.
func TestChain(t *testing.T) {
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, test := range map[string]struct {
		env     map[string]string
		options string
		want    string
	}{
		"environment": {map[string]string{"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "tok"}, "", "AKIDENV tok"},
		"profile": {map[string]string{
			"AWS_CONFIG_FILE":             file("config", "[profile work]\nregion = eu-north-1\n"),
			"AWS_SHARED_CREDENTIALS_FILE": file("credentials", "[default]\naws_access_key_id=AKIDDEFAULT\naws_secret_access_key=s\n[work]\naws_access_key_id=AKIDWORK\naws_secret_access_key=s\n"),
		}, "profile=work", "AKIDWORK "},
		"web identity": {map[string]string{
			"AWS_WEB_IDENTITY_TOKEN_FILE": file("token", "a token"), "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/backup",
			"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_STS": tokenService(t),
		}, "", "AKIDWEB session"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			q := asked(t, configured(t, "bucket", test.options))
			_, scope, _ := strings.Cut(q.Header.Get("Authorization"), "Credential=")
			id, _, _ := strings.Cut(scope, "/")
			if got := id + " " + q.Header.Get("X-Amz-Security-Token"); got != test.want {
				t.Errorf("signed by %q, want %q", got, test.want)
			}
		})
	}
}

// tokenService gives credentials for a token, as AWS does.
func tokenService(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "AssumeRoleWithWebIdentity" || r.FormValue("WebIdentityToken") != "a token" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
			<AccessKeyId>AKIDWEB</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>session</SessionToken><Expiration>%s</Expiration>
			</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// Missing credentials, profiles and bundles are errors that say so, at once.
func TestNothingToSignWith(t *testing.T) {
	s := driver(t, configured(t, "bucket", ""), core.Env{Transport: &prove.Recorder{Next: denied}})
	_, err := s.Stat(t.Context(), "meta/x")
	prove.Kind(t, "no credentials", err, core.ErrUnauthenticated)
	for options, want := range map[string]string{"profile=nobody": "nobody", "ca_bundle=/nowhere/ca.pem": "/nowhere/ca.pem", "ca_bundle=/dev/null": "/dev/null"} {
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
		"":                              `{"PartSize":33554432,"MaxPart":5368709120,"MaxParts":10000,"Workers":8}`,
		"part_size=5MiB&concurrency=64": `{"PartSize":5242880,"MaxPart":5368709120,"MaxParts":10000,"Workers":64}`,
	} {
		got, err := json.Marshal(driver(t, configured(t, "bucket", options), core.Env{}).Limits())
		if err != nil || string(got) != want {
			t.Errorf("%q: %s, %v; want %s", options, got, err, want)
		}
	}
}

// No more parts than Concurrency are on their way at once, and as many are.
func TestConcurrency(t *testing.T) {
	server := minio.Get(t)
	bucket := newBucket(t, server, false)
	signIn(t, server.Key)
	gate := &meeting{next: http.DefaultTransport, want: 3, all: make(chan struct{})}
	a := prove.Open(t, configured(t, bucket.Name, on(server, "concurrency=3")), core.Env{Transport: gate})
	body := prove.Noise(7 * minPart)
	prove.Holds(t, a, prove.Uploaded(t, a, body), body)
	if gate.most != 3 {
		t.Errorf("%d parts at once, want 3", gate.most)
	}
}

// A meeting holds parts until as many as wanted are there.
type meeting struct {
	next http.RoundTripper
	want int
	all  chan struct{} // closed when they are

	mu        sync.Mutex
	now, most int
}

func (m *meeting) RoundTrip(q *http.Request) (*http.Response, error) {
	if !q.URL.Query().Has("partNumber") {
		return m.next.RoundTrip(q)
	}
	m.count(1)
	defer m.count(-1)
	select {
	case <-m.all:
	case <-q.Context().Done():
		return nil, context.Cause(q.Context())
	}
	return m.next.RoundTrip(q)
}

func (m *meeting) count(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now += n
	m.most = max(m.most, m.now)
	if m.now == m.want {
		select {
		case <-m.all:
		default:
			close(m.all)
		}
	}
}
