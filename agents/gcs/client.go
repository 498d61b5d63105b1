package gcs

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"os"
	"strings"

	"cloud.google.com/go/storage"
	"google.golang.org/api/option"
	raw "google.golang.org/api/storage/v1"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transport"
)

// spare connections are for lists, and for readers that stand open while parts are
// sent.
const spare = 32

// A client reaches one bucket. The SDK looks, deletes and asks for rights. The rest goes
// by the generated client that it is made of, or by requests of this package, because
// the SDK cannot do it: name the key of what it composes, go on with an upload of
// another process, say how long a body is before it is read, read a range without
// asking again for ever, tell a page of a list from what is none.
type client struct {
	bucket *storage.BucketHandle
	raw    *raw.Service
	base   string            // of URLs: scheme and host
	http   *http.Client      // adds a token
	idle   []*http.Transport // whose connections Close closes
}

// newClient makes a client that retries nothing and follows no redirect.
func newClient(ctx context.Context, c Config, env core.Env) (client, error) {
	own, err := transport.New(transport.Options{CABundle: c.CABundle, Connections: c.workers() + spare, Dial: env.Dial})
	if err != nil {
		return client{}, err
	}
	if env.Transport == nil {
		env.Transport = own
	}
	base, emulator, err := c.server(os.Getenv("STORAGE_EMULATOR_HOST"))
	if err != nil {
		return client{}, err
	}
	env.Transport = billed{env.Transport, c.QuotaProject}
	if !emulator {
		if env.Transport, err = newIdentity(c, env.Transport); err != nil {
			return client{}, err
		}
	}
	made := client{base: base, idle: []*http.Transport{own}, http: transport.Client(env.Transport)}
	with := []option.ClientOption{option.WithHTTPClient(made.http), option.WithEndpoint(base + "/storage/v1/"), option.WithoutAuthentication(), option.WithTelemetryDisabled()}
	sdk, err := storage.NewClient(ctx, append(with, storage.WithDisabledClientMetrics())...)
	if err == nil {
		made.bucket = sdk.Bucket(c.Bucket).Retryer(storage.WithPolicy(storage.RetryNever))
		made.raw, err = raw.NewService(ctx, with...)
	}
	if err != nil {
		return client{}, core.Errorf(core.ErrInvalid, "%s: %w", c.Place(), err)
	}
	return made, nil
}

// server is where requests go, and whether it is an emulator, which the variable that
// the SDK knows may name. It switches credentials off, so it has to be meant.
func (c Config) server(emulatorHost string) (base string, emulator bool, err error) {
	if c.Endpoint != "" || emulatorHost == "" {
		return strings.TrimRight(cmp.Or(c.Endpoint, "https://storage.googleapis.com"), "/"), c.Emulator && c.Endpoint != "", nil
	}
	if !strings.Contains(emulatorHost, "://") {
		emulatorHost = "http://" + emulatorHost
	}
	u, err := url.Parse(emulatorHost)
	if err != nil || u.Host == "" {
		return "", false, core.Errorf(core.ErrInvalid, "STORAGE_EMULATOR_HOST is no host:port")
	}
	if !c.Emulator && !transport.Loopback(u.Hostname()) {
		return "", false, core.Errorf(core.ErrInvalid, "STORAGE_EMULATOR_HOST is %s, which is not this machine: unset it, or give emulator=true", u.Host)
	}
	return u.Scheme + "://" + u.Host, true, nil
}

// billed names the project that requests are billed to.
type billed struct {
	next    http.RoundTripper
	project string
}

const projectHeader = "X-Goog-User-Project"

func (b billed) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.project != "" {
		r = r.Clone(r.Context())
		r.Header.Set(projectHeader, b.project)
	}
	return b.next.RoundTrip(r)
}
