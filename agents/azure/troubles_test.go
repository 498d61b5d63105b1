package azure

import (
	"net/http"
	"net/http/httptest"
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
