package azure

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// canary is a secret that must be nowhere: a key that no account has.
const canary = "Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYQ=="

// everything is what an agent needs of a SAS.
const everything = "rwcld"

// signed is the configuration of a container with a SAS in the place of the key.
func signed(t *testing.T, c emulator.Container, endpoint string, rights string, until time.Time) *Config {
	t.Helper()
	query, err := c.SAS(rights, until)
	if err != nil {
		t.Fatal(err)
	}
	return &Config{Container: c.Name, Prefix: "app", Endpoint: endpoint, SAS: core.NewSecret(query), PartSize: minPart}
}

// What is wrong with the credentials, the place or the way there is a clear error of
// each call, at once.
func TestTroubles(t *testing.T) {
	server := azurite.Get(t)
	container := newContainer(t, server)
	id := stocked(t, server, container)
	proxy := func(o fault.Options, rules ...*fault.Rule) string {
		o.Upstream = server.Address
		p, err := fault.Start(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.Close() })
		p.Arm(rules...)
		return p.Addr() + "/" + emulator.AzuriteAccount
	}
	certificate, err := fault.NewIdentity(fault.SelfSigned, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, asked := nobody(t)
	with := func(container, endpoint, key string) *Config {
		c := configured(t, container, "part_size=1MiB&endpoint="+endpoint)
		c.Key = core.NewSecret(key)
		return c
	}
	stranger := with(container.Name, server.URL(), canary)
	stranger.Account = "stranger"
	// Azurite says AuthorizationFailure where Azure says AuthenticationFailed.
	for name, test := range map[string]struct {
		c    *Config
		want core.ErrorKind
		text string
	}{
		"wrong key":       {with(container.Name, server.URL(), canary), core.ErrDenied, "key or SAS is not let in"},
		"unknown account": {stranger, core.ErrDenied, "key or SAS is not let in"},
		"expired SAS":     {signed(t, container, server.URL(), everything, time.Now().Add(-time.Hour)), core.ErrDenied, "key or SAS is not let in"},
		"wrong container": {with("nobodys", server.URL(), emulator.AzuriteKey), core.ErrNoPlace, "ContainerNotFound"},
		"self-signed":     {with(container.Name, "https://"+proxy(fault.Options{TLS: certificate.TLS}), emulator.AzuriteKey), core.ErrUnauthenticated, "ca_bundle"},
		"redirect":        {with(container.Name, "http://"+proxy(fault.Options{}, &fault.Rule{Times: fault.Always, Fault: fault.Redirect(other)}), emulator.AzuriteKey), core.ErrUnsupported, "redirects are not followed"},
		"nobody listens":  {with(container.Name, "http://127.0.0.1:1/"+emulator.AzuriteAccount, emulator.AzuriteKey), core.ErrUnavailable, "127.0.0.1:1: dial tcp"},
	} {
		t.Run(name, func(t *testing.T) {
			w := prove.NewWitness(t)
			env := w.Env()
			env.Patience.Retry = time.Second
			errs := w.Calls(prove.Open(t, test.c, env), id, minPart+1000)
			for op, err := range errs {
				prove.Kind(t, op, err, test.want)
				if err != nil && !strings.Contains(err.Error(), test.text) {
					t.Errorf("%s: %v, want %q", op, err, test.text)
				}
			}
			_, signature, _ := strings.Cut(test.c.SAS.Reveal(), "sig=")
			w.Silent(errs, test.c.Key.Reveal(), test.c.SAS.Reveal(), signature)
		})
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the host of the redirect was asked %d times", n)
	}
	if _, err := prove.Open(t, configured(t, container.Name, on(server, "")), core.Env{}).Get(t.Context(), id); err != nil {
		t.Errorf("the backup is not what it was: %v", err)
	}
}

// stocked stores a backup in a container.
func stocked(t *testing.T, server *emulator.Azurite, c emulator.Container) core.ID {
	t.Helper()
	return prove.Uploaded(t, prove.Open(t, configured(t, c.Name, on(server, "")), core.Env{}), prove.Noise(1000))
}

// nobody is a server that was not to be asked.
func nobody(t *testing.T) (string, *atomic.Int32) {
	asked := new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(server.Close)
	return server.URL, asked
}

// A SAS that may not delete stores, lists and reads, and a delete says which right it
// lacks and changes nothing.
func TestMayNotDelete(t *testing.T) {
	server := azurite.Get(t)
	container := newContainer(t, server)
	a := prove.Open(t, signed(t, container, server.URL(), "rwcl", time.Now().Add(time.Hour)), core.Env{})
	body := prove.Noise(minPart + 1000)
	id := prove.Uploaded(t, a, body)
	prove.Holds(t, a, id, body)
	err := a.Delete(t.Context(), id)
	prove.Kind(t, "a delete", err, core.ErrDenied)
	if err == nil || !strings.Contains(err.Error(), "/blobs/delete, or d of a SAS") {
		t.Errorf("%v does not say which right", err)
	}
	prove.Holds(t, a, id, body)
}

// A SAS that may not list gets an error that says so, and no empty list.
func TestMayNotList(t *testing.T) {
	server := azurite.Get(t)
	container := newContainer(t, server)
	id := stocked(t, server, container)
	w := prove.NewWitness(t)
	c := signed(t, container, server.URL(), "rwcd", time.Now().Add(time.Hour))
	a := prove.Open(t, c, w.Env())
	if _, err := a.Get(t.Context(), id); err != nil {
		t.Errorf("what is there can be read: %v", err)
	}
	_, list := prove.List(t.Context(), a)
	errs := map[string]error{"list": list}
	for _, err := range a.(core.Sweeper).Sweep(t.Context(), nil) {
		errs["sweep"] = err
	}
	for op, err := range errs {
		prove.Kind(t, op, err, core.ErrDenied)
		if err != nil && !strings.Contains(err.Error(), "/blobs/read, or l of a SAS") {
			t.Errorf("%s: %v does not say which right", op, err)
		}
	}
	w.Silent(errs, c.SAS.Reveal())
}

// What is protected answers a delete with the date.
func TestLocked(t *testing.T) {
	until := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	for name, test := range map[string]struct {
		header http.Header
		until  time.Time
	}{
		"policy":     {http.Header{"X-Ms-Immutability-Policy-Until-Date": {until.Format(http.TimeFormat)}}, until},
		"legal hold": {http.Header{"X-Ms-Legal-Hold": {"true"}}, time.Time{}},
	} {
		s := driver(t, configured(t, "backups", elsewhere), core.Env{Transport: prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
			if q.Method == http.MethodDelete {
				return refuse(q, http.StatusConflict, "BlobImmutableDueToPolicy"), nil
			}
			return prove.Answer(q, http.StatusOK, test.header, ""), nil
		})})
		err := s.Delete(t.Context(), "meta/x.json")
		prove.Kind(t, name, err, core.ErrLocked)
		if e := (*core.Error)(nil); !errors.As(err, &e) || !e.Until.Equal(test.until) {
			t.Errorf("%s: %v; want until %v", name, err, test.until)
		}
		got, err := s.Protected(t.Context(), "meta/x.json")
		if test.until.IsZero() {
			prove.Kind(t, name, err, core.ErrLocked)
		} else if err != nil || !got.Equal(test.until) {
			t.Errorf("%s: protected until %v, %v", name, got, err)
		}
	}
}

// A managed identity's and a workload identity's token goes to the place, and a
// client_id to the service that gives it.
func TestIdentities(t *testing.T) {
	var asked atomic.Value
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		host := "https://" + r.Host
		switch {
		case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
			fmt.Fprintf(w, `{"token_endpoint":%q,"authorization_endpoint":%q,"issuer":%q}`, host+"/tenant/token", host+"/tenant/authorize", host+"/tenant")
		default:
			asked.Store(r.Form)
			fmt.Fprint(w, `{"access_token":"canary-token","token_type":"Bearer","expires_in":"3600","expires_on":"4102444800","resource":"https://storage.azure.com"}`)
		}
	}))
	certificate, err := fault.NewIdentity(fault.Sound, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	service.TLS = certificate.TLS
	service.StartTLS()
	t.Cleanup(service.Close)
	plain := httptest.NewServer(service.Config.Handler)
	t.Cleanup(plain.Close)
	dir := t.TempDir()
	bundle, federated := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token")
	for path, text := range map[string][]byte{bundle: certificate.CA, federated: []byte("a token")} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		env     map[string]string
		options string
		form    string // what the service is asked for
		want    string
	}{
		"managed":        {map[string]string{"IDENTITY_ENDPOINT": plain.URL, "IDENTITY_HEADER": "h"}, "", "client_id", ""},
		"one of several": {map[string]string{"IDENTITY_ENDPOINT": plain.URL, "IDENTITY_HEADER": "h"}, "&client_id=0123", "client_id", "0123"},
		"workload": {map[string]string{
			"AZURE_FEDERATED_TOKEN_FILE": federated, "AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "4567", "AZURE_AUTHORITY_HOST": service.URL,
		}, "", "client_assertion", "a token"},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			c := configured(t, "backups", "account=acme&ca_bundle="+bundle+test.options)
			c.Key = core.Secret{}
			rec := &prove.Recorder{Next: denied}
			_, err := driver(t, c, core.Env{Transport: rec}).Stat(t.Context(), "meta/x")
			prove.Kind(t, "a denied request", err, core.ErrDenied)
			if all := rec.Seen(); len(all) != 1 || all[0].Header.Get("Authorization") != "Bearer canary-token" {
				t.Errorf("%d requests, %v", len(all), err)
			}
			if form, _ := asked.Load().(url.Values); form.Get(test.form) != test.want {
				t.Errorf("the identity's service was asked with %v", form)
			}
		})
	}
}
