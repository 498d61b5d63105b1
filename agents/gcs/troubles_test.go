package gcs

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/emulator/fakegcs"
	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// said is an environment whose log is kept, and which is not patient.
func said(t *testing.T) (env core.Env, log *bytes.Buffer) {
	log = new(bytes.Buffer)
	return core.Env{
		StateDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(log, nil)), Patience: core.Patience{Retry: time.Second},
	}, log
}

// hasty is what a witness gives an agent, with little patience.
func hasty(w *prove.Witness) core.Env {
	env := w.Env()
	env.Patience.Retry = time.Second
	return env
}

// What is wrong with the credentials, the place or the way there is a clear error of each
// call, at once.
func TestTroubles(t *testing.T) {
	server := started(t)
	server.Bill("ours")
	bucket := newBucket(t, server, fakegcs.Bucket{})
	pays := server.MakeBucket("requester-pays", fakegcs.Bucket{RequesterPays: true})
	id := prove.Uploaded(t, prove.Open(t, configured(t, bucket.Name, on(server, "")), core.Env{}), prove.Noise(1000))
	proxy := func(o fault.Options, rules ...*fault.Rule) string {
		o.Upstream = server.Address
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
	for name, test := range map[string]struct {
		credentials string
		bucket      string
		options     string
		want        core.ErrorKind
		text        string
	}{
		"a key of nobody":        {account(t, fakegcs.Options{}, server.URL()), bucket.Name, "", core.ErrUnauthenticated, "account not found"},
		"a key that was changed": {spoiled(t, server.Credentials), bucket.Name, "", core.ErrUnauthenticated, "Invalid JWT Signature"},
		"a wrong clock":          {account(t, fakegcs.Options{Now: func() time.Time { return time.Now().Add(2 * time.Hour) }}, ""), bucket.Name, "", core.ErrClock, "set this machine's clock"},
		"no issuer":              {reissued(t, server.Credentials, "http://127.0.0.1:1/token"), bucket.Name, "", core.ErrUnavailable, "127.0.0.1:1"},
		"a wrong bucket":         {server.Credentials, "nobodys-bucket", "", core.ErrNoPlace, "The specified bucket does not exist"},
		"a wrong project":        {server.Credentials, bucket.Name, "quota_project=theirs", core.ErrDenied, "permission to use project theirs"},
		"no project":             {server.Credentials, pays.Name, "", core.ErrUnsupported, "give quota_project"},
		"a self-signed server":   {server.Credentials, bucket.Name, "endpoint=https://" + proxy(fault.Options{TLS: certificate.TLS}), core.ErrUnauthenticated, "ca_bundle"},
		"a redirect":             {server.Credentials, bucket.Name, "endpoint=http://" + proxy(fault.Options{}, &fault.Rule{Times: fault.Always, Fault: fault.Redirect(other)}), core.ErrUnsupported, "points to " + other},
		"nobody listens":         {server.Credentials, bucket.Name, "endpoint=http://127.0.0.1:1", core.ErrUnavailable, "127.0.0.1:1: dial tcp"},
	} {
		t.Run(name, func(t *testing.T) {
			options := test.options
			if !strings.Contains(options, "endpoint=") {
				options += "&endpoint=" + url.QueryEscape(server.URL())
			}
			w := prove.NewWitness(t)
			a := prove.Open(t, configured(t, test.bucket, "part_size=1MiB&credentials="+url.QueryEscape(test.credentials)+"&"+options), hasty(w))
			errs := w.Calls(a, id, minPart+1000)
			for op, err := range errs {
				prove.Kind(t, op, err, test.want)
				if err != nil && !strings.Contains(err.Error(), test.text) {
					t.Errorf("%s: %v, want %q", op, err, test.text)
				}
			}
			w.Silent(errs, append(always, secretOf(t, test.credentials))...)
		})
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the host of the redirect was asked %d times", n)
	}
	if _, err := prove.Open(t, configured(t, bucket.Name, on(server, "")), core.Env{}).Get(t.Context(), id); err != nil {
		t.Errorf("the backup is not what it was: %v", err)
	}
}

// always are secrets, or what they begin with.
var always = []string{"ya29.", "upload_id"}

// account is the file of a key that another server gave out. Where no url of who gives
// tokens is named, it is that server.
func account(t *testing.T, o fakegcs.Options, url string) string {
	t.Helper()
	o.Dir = t.TempDir()
	s, err := fakegcs.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if url == "" {
		web := httptest.NewServer(s)
		t.Cleanup(web.Close)
		url = web.URL
	}
	doc, err := s.Account(url)
	file := filepath.Join(t.TempDir(), "account.json")
	if err == nil {
		err = os.WriteFile(file, doc, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// spoiled has the name of one account and the key of another.
func spoiled(t *testing.T, file string) string {
	t.Helper()
	return edited(t, file, "private_key", field(t, account(t, fakegcs.Options{}, ""), "private_key"))
}

// reissued has its tokens from another address.
func reissued(t *testing.T, file, url string) string {
	t.Helper()
	return edited(t, file, "token_uri", url)
}

// elsewhere is a server that nobody was to ask.
func elsewhere(t *testing.T) (string, *atomic.Int32) {
	asked := new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(server.Close)
	return server.URL, asked
}

// Credentials that may not delete store, list and read, in one stream, and leave
// nothing; a delete says which right it lacks and changes nothing.
func TestMayNotDelete(t *testing.T) {
	server := started(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	server.Deny("storage.objects.delete", "storage.buckets.get")
	env, log := said(t)
	a := prove.Open(t, configured(t, bucket.Name, on(server, "")), env)
	body := prove.Noise(3*minPart + 1000)
	id := prove.Uploaded(t, a, body)
	prove.Holds(t, a, id, body)
	if _, err := prove.Upload(t, prove.Open(t, configured(t, bucket.Name, on(server, "")), env), body); err != nil {
		t.Errorf("a second upload: %v", err)
	}
	err := a.Delete(t.Context(), id)
	prove.Kind(t, "a delete", err, core.ErrDenied)
	if err == nil || !strings.Contains(err.Error(), "storage.objects.delete") {
		t.Errorf("%v does not say which right", err)
	}
	for _, err := range a.(core.Sweeper).Sweep(t.Context(), func(core.ID) bool { return true }) {
		t.Errorf("a sweep: %v", err)
	}
	for _, name := range server.Names(bucket.Name, "app/") {
		if strings.HasPrefix(name, "app/tmp/") {
			t.Errorf("%s is left, for ever", name)
		}
	}
	if n := strings.Count(log.String(), "without the right storage.objects.delete"); n != 2 {
		t.Errorf("two agents said %d times why archives go up in one stream: %s", n, log)
	}
}

// The same credentials, told to upload in parts, store and say once what is left.
func TestMayNotDeleteParts(t *testing.T) {
	server := started(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	server.Deny("storage.objects.delete")
	env, log := said(t)
	lost := &fault.Rule{Match: func(q fault.Request) bool {
		return strings.Contains(q.Target, "%2Ftmp%2F") && q.Method == http.MethodPost
	}, Fault: fault.Lost()}
	c := configured(t, bucket.Name, on(server, "upload=parts"))
	c.Endpoint = proxied(t, server, lost)
	a := prove.Open(t, c, env)
	body := prove.Noise(3*minPart + 1000)
	prove.Holds(t, a, prove.Uploaded(t, a, body), body)
	if lost.Fired() == 0 {
		t.Error("no answer to a part was lost")
	}
	if n := strings.Count(log.String(), "parts of a stored archive are left"); n != 1 {
		t.Errorf("said %d times: %s", n, log)
	}
}

// Credentials that may not list get an error that says so, and no empty list.
func TestMayNotList(t *testing.T) {
	server := started(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	id := prove.Uploaded(t, prove.Open(t, configured(t, bucket.Name, on(server, "")), core.Env{}), prove.Noise(1000))
	server.Deny("storage.objects.list")
	w := prove.NewWitness(t)
	a := prove.Open(t, configured(t, bucket.Name, on(server, "")), hasty(w))
	if _, err := a.Get(t.Context(), id); err != nil {
		t.Errorf("what is there can be read: %v", err)
	}
	errs := w.Calls(a, id, minPart+1000)
	for _, op := range []string{"list", "sweep", "upload", "delete"} {
		prove.Kind(t, op, errs[op], core.ErrDenied)
		if errs[op] != nil && !strings.Contains(errs[op].Error(), "storage.objects.list") {
			t.Errorf("%s: %v does not say which right", op, errs[op])
		}
	}
	w.Silent(errs, append(always, secretOf(t, server.Credentials))...)
}

// A token that the server takes no more is an error at once, and the next agent gets a
// new one.
func TestRevokedToken(t *testing.T) {
	server := started(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	c := configured(t, bucket.Name, on(server, ""))
	w := prove.NewWitness(t)
	a := prove.Open(t, c, hasty(w))
	id := prove.Uploaded(t, a, prove.Noise(1000))
	server.Revoke()
	errs := w.Calls(a, id, minPart+1000)
	for op, err := range errs {
		prove.Kind(t, op, err, core.ErrUnauthenticated)
		if err != nil && !strings.Contains(err.Error(), "Invalid Credentials") {
			t.Errorf("%s: %v", op, err)
		}
	}
	w.Silent(errs, append(always, secretOf(t, server.Credentials))...)
	if _, err := prove.Open(t, c, core.Env{}).Get(t.Context(), id); err != nil {
		t.Errorf("with a new token: %v", err)
	}
}

// A certificate of one's own is trusted when its CA is named.
func TestCABundle(t *testing.T) {
	server := fake.Get(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	id := prove.Uploaded(t, prove.Open(t, configured(t, bucket.Name, on(server, "")), core.Env{}), prove.Noise(1000))
	certificate, err := fault.NewIdentity(fault.Sound, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := fault.Start(fault.Options{Upstream: server.Address, TLS: certificate.TLS})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, certificate.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	get := func(options string) error {
		c := configured(t, bucket.Name, on(server, options))
		c.Endpoint = "https://" + p.Addr()
		_, err := prove.Open(t, c, core.Env{}).Get(t.Context(), id)
		return err
	}
	prove.Kind(t, "without it", get(""), core.ErrUnauthenticated)
	if err := get("ca_bundle=" + bundle); err != nil {
		t.Errorf("by the option: %v", err)
	}
}

// field is a word of a file of credentials.
func field(t *testing.T, file, name string) string {
	t.Helper()
	return words(t, file)[name]
}

func words(t *testing.T, file string) map[string]string {
	t.Helper()
	all := map[string]string{}
	doc, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(doc, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// edited is a copy of a file of credentials with another word.
func edited(t *testing.T, file, name, value string) string {
	t.Helper()
	all := words(t, file)
	all[name] = value
	copied := filepath.Join(t.TempDir(), "edited.json")
	doc, err := json.Marshal(all)
	if err == nil {
		err = os.WriteFile(copied, doc, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return copied
}
