package azure

import (
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

	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

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

// An identity that is not there, is refused, or cannot be asked is an error of that kind,
// at once, which says the service's code and nothing else of what it sent.
func TestIdentityTroubles(t *testing.T) {
	service := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	const refused = `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret: canary."}`
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, test := range map[string]struct {
		env  map[string]string
		want core.ErrorKind
		text string
	}{
		"none":      {map[string]string{"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"}, core.ErrUnauthenticated, "set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN"},
		"mistyped":  {map[string]string{"AZURE_TOKEN_CREDENTIALS": "none"}, core.ErrUnauthenticated, `invalid AZURE_TOKEN_CREDENTIALS value "none"`},
		"refused":   {map[string]string{"IDENTITY_ENDPOINT": service(400, refused)}, core.ErrUnauthenticated, "AADSTS7000215"},
		"forbidden": {map[string]string{"IDENTITY_ENDPOINT": service(403, "canary")}, core.ErrUnauthenticated, "refuses its credentials, with status 403"},
		"busy":      {map[string]string{"IDENTITY_ENDPOINT": service(429, "canary")}, core.ErrUnavailable, "with status 429"},
		"renewed":   {map[string]string{"IDENTITY_ENDPOINT": service(410, "canary")}, core.ErrUnavailable, "with status 410"},
		"down":      {map[string]string{"IDENTITY_ENDPOINT": service(503, "AADSTS90033: canary")}, core.ErrUnavailable, "with status 503: AADSTS90033"},
		"away":      {map[string]string{"IDENTITY_ENDPOINT": closed.URL}, core.ErrUnavailable, "refused"},
	} {
		for _, option := range []string{"", "&client_id=only-" + name} {
			if option != "" && test.env["IDENTITY_ENDPOINT"] == "" {
				continue // a chain of identities has none of one's own
			}
			t.Run(name+option, func(t *testing.T) {
				t.Setenv("IDENTITY_HEADER", "h")
				t.Setenv("AZURE_CLIENT_ID", name) // whose tokens the process keeps
				t.Setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
				for k, v := range test.env {
					t.Setenv(k, v)
				}
				c := configured(t, "backups", "account=acme"+option)
				c.Key = core.Secret{}
				rec := &prove.Recorder{Next: denied}
				s, err := newStore(*c, core.Env{Transport: rec})
				if err == nil {
					_, err = s.Stat(t.Context(), "meta/x")
				}
				prove.Kind(t, "a request", err, test.want)
				if err != nil && (!strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "canary")) {
					t.Errorf("%v, want %q", err, test.text)
				}
				if n := len(rec.Seen()); n > 0 {
					t.Errorf("the place was asked %d times", n)
				}
			})
		}
	}
}
