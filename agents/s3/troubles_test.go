package s3

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// canary is a secret that must be nowhere.
var canary = emulator.Credentials{ID: "AKIDCANARY", Secret: "canary-secret-key", Token: "canary-session-token"}

// skewed signs by another clock.
type skewed struct {
	s3.HTTPSignerV4
	by time.Duration
}

func (s skewed) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, at time.Time, options ...func(*v4.SignerOptions)) error {
	return s.HTTPSignerV4.SignHTTP(ctx, c, r, hash, service, region, at.Add(s.by), options...)
}

// What is wrong with the credentials, the place or the way there is a clear error
// of each call, at once.
func TestTroubles(t *testing.T) {
	server := minio.Get(t)
	bucket := newBucket(t, server, false)
	id := stocked(t, server, bucket)
	proxy := func(o fault.Options, rules ...*fault.Rule) string {
		o.Upstream = strings.TrimPrefix(server.URL, "http://")
		p, err := fault.Start(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		p.Arm(rules...)
		return p.Addr()
	}
	certificate, err := fault.NewIdentity(fault.SelfSigned, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, asked := elsewhere(t)
	wrongSecret, withSecret := server.Key, server.Key
	wrongSecret.Secret = canary.Secret
	nobody := canary
	nobody.Token = ""
	wrongToken := server.Key
	wrongToken.Token = canary.Token
	for name, test := range map[string]struct {
		key      emulator.Credentials
		bucket   string
		endpoint string
		skew     time.Duration
		want     core.ErrorKind
		text     string
	}{
		"wrong secret":   {wrongSecret, bucket.Name, server.URL, 0, core.ErrUnauthenticated, "SignatureDoesNotMatch"},
		"unknown key":    {nobody, bucket.Name, server.URL, 0, core.ErrUnauthenticated, "InvalidAccessKeyId"},
		"wrong token":    {wrongToken, bucket.Name, server.URL, 0, core.ErrUnauthenticated, "InvalidToken"},
		"wrong bucket":   {withSecret, "nobodys-bucket", server.URL, 0, core.ErrNoPlace, "NoSuchBucket"},
		"clock behind":   {withSecret, bucket.Name, server.URL, -time.Hour, core.ErrClock, "set this machine's clock"},
		"clock ahead":    {withSecret, bucket.Name, server.URL, time.Hour, core.ErrClock, "set this machine's clock"},
		"self-signed":    {withSecret, bucket.Name, "https://" + proxy(fault.Options{TLS: certificate.TLS}), 0, core.ErrUnauthenticated, "ca_bundle"},
		"redirect":       {withSecret, bucket.Name, "http://" + proxy(fault.Options{}, &fault.Rule{Times: fault.Always, Fault: fault.Redirect(other)}), 0, core.ErrUnsupported, "points to " + other},
		"nobody listens": {withSecret, bucket.Name, "http://127.0.0.1:1", 0, core.ErrUnavailable, "127.0.0.1:1: dial tcp"},
	} {
		t.Run(name, func(t *testing.T) {
			signIn(t, test.key)
			w := prove.NewWitness(t)
			env := w.Env()
			env.Patience.Retry = time.Second
			s := driver(t, configured(t, test.bucket, "part_size=5MiB&endpoint="+test.endpoint), env)
			s.change(func(o *s3.Options) { o.HTTPSignerV4, o.AuthSchemes = skewed{o.HTTPSignerV4, test.skew}, nil })
			a := agent(s, env)
			errs := w.Calls(a, id, minPart+1000)
			for op, err := range errs {
				prove.Kind(t, op, err, test.want)
				if err != nil && !strings.Contains(err.Error(), test.text) {
					t.Errorf("%s: %v, want %q", op, err, test.text)
				}
			}
			w.Silent(errs, test.key.Secret, test.key.Token, canary.Secret, canary.Token)
		})
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the host of the redirect was asked %d times", n)
	}
	signIn(t, server.Key)
	if _, err := prove.Open(t, configured(t, bucket.Name, on(server, "")), core.Env{}).Get(t.Context(), id); err != nil {
		t.Errorf("the backup is not what it was: %v", err)
	}
}

// stocked stores a backup in a bucket.
func stocked(t *testing.T, server *emulator.MinIO, bucket emulator.Bucket) core.ID {
	t.Helper()
	signIn(t, server.Key)
	return prove.Uploaded(t, prove.Open(t, configured(t, bucket.Name, on(server, "")), core.Env{}), prove.Noise(1000))
}

// elsewhere is a server that nobody was to ask.
func elsewhere(t *testing.T) (string, *atomic.Int32) {
	asked := new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(server.Close)
	return server.URL, asked
}

// allow is a policy of these actions on everything.
func allow(actions ...string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["` + strings.Join(actions, `","`) + `"],"Resource":["arn:aws:s3:::*"]}]}`
}

var (
	writing = []string{"s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:ListBucketMultipartUploads"}
	listing = []string{"s3:ListBucket"}
)

// Credentials that may not delete store, list and read, and a delete says which
// right it lacks and changes nothing.
func TestMayNotDelete(t *testing.T) {
	server := minio.Get(t)
	bucket := newBucket(t, server, false)
	signIn(t, session(t, server, append(writing, listing...)...))
	c := configured(t, bucket.Name, on(server, ""))
	a := prove.Open(t, c, core.Env{})
	body := prove.Noise(minPart + 1000)
	id := prove.Uploaded(t, a, body)
	prove.Holds(t, a, id, body)
	err := a.Delete(t.Context(), id)
	prove.Kind(t, "a delete", err, core.ErrDenied)
	if err == nil || !strings.Contains(err.Error(), "s3:DeleteObject") {
		t.Errorf("%v does not say which right", err)
	}
	prove.Holds(t, a, id, body)
}

// Credentials that may not list get an error that says so, and no empty list. They
// can upload where a server tells them all the same what is not there, as MinIO
// does and Amazon does not.
func TestMayNotList(t *testing.T) {
	server := minio.Get(t)
	bucket := newBucket(t, server, false)
	id := stocked(t, server, bucket)
	key := session(t, server, writing...)
	signIn(t, key)
	w := prove.NewWitness(t)
	a := prove.Open(t, configured(t, bucket.Name, on(server, "")), w.Env())
	if _, err := a.Get(t.Context(), id); err != nil {
		t.Errorf("what is there can be read: %v", err)
	}
	errs := w.Calls(a, id, minPart+1000)
	for _, op := range []string{"list", "sweep", "delete"} {
		prove.Kind(t, op, errs[op], core.ErrDenied)
		if errs[op] != nil && !strings.Contains(errs[op].Error(), "s3:ListBucket") {
			t.Errorf("%s: %v does not say which right", op, errs[op])
		}
	}
	w.Silent(errs, key.Secret, key.Token)
}

func session(t *testing.T, server *emulator.MinIO, actions ...string) emulator.Credentials {
	t.Helper()
	key, err := server.Session(t.Context(), allow(actions...))
	if err != nil || key.Token == "" {
		t.Fatal(key, err)
	}
	return key
}

// A certificate of one's own is trusted when its CA is named, by the option or by
// what the AWS command line knows.
func TestCABundle(t *testing.T) {
	server := minio.Get(t)
	bucket := newBucket(t, server, false)
	id := stocked(t, server, bucket)
	certificate, err := fault.NewIdentity(fault.Sound, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := fault.Start(fault.Options{Upstream: strings.TrimPrefix(server.URL, "http://"), TLS: certificate.TLS})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, certificate.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	get := func(options string) error {
		_, err := prove.Open(t, configured(t, bucket.Name, "endpoint=https://"+p.Addr()+options), core.Env{}).Get(t.Context(), id)
		return err
	}
	prove.Kind(t, "without it", get(""), core.ErrUnauthenticated)
	if err := get("&ca_bundle=" + bundle); err != nil {
		t.Errorf("by the option: %v", err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	if err := get(""); err != nil {
		t.Errorf("by AWS_CA_BUNDLE: %v", err)
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", empty)
	_, err = configured(t, bucket.Name, "").Open(t.Context(), core.Env{})
	prove.Kind(t, "an empty bundle", err, core.ErrInvalid)
}
