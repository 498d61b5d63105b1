package emulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/conformance/emulator/fakegcs"
)

// FakeGCSServerVersion is the one that make builds.
const FakeGCSServerVersion = "v1.56.1"

// A FakeGCS is a server of Google Cloud Storage in this process, on loopback.
type FakeGCS struct {
	*fakegcs.Server
	Address     string // 127.0.0.1:port
	Credentials string // a file such as GOOGLE_APPLICATION_CREDENTIALS names, of an account that may do everything

	http *http.Server
}

// URL is where clients reach it.
func (g *FakeGCS) URL() string { return "http://" + g.Address }

// StartFakeGCS starts a server that keeps its bytes in dir, which is there and empty.
// The caller stops it.
func StartFakeGCS(_ context.Context, dir string, _ ...string) (*FakeGCS, error) {
	objects := filepath.Join(dir, "objects")
	if err := os.Mkdir(objects, 0o700); err != nil {
		return nil, err
	}
	server, err := fakegcs.New(fakegcs.Options{Dir: objects})
	if err != nil {
		return nil, err
	}
	g := &FakeGCS{Server: server, Credentials: filepath.Join(dir, "credentials.json")}
	return g, g.Restart()
}

// Restart listens at a new address, which Credentials are for then, as a server does that
// was ended and started again. It keeps what it holds.
func (g *FakeGCS) Restart() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	g.Address, g.http = l.Addr().String(), &http.Server{Handler: g.Server}
	key, err := g.Account(g.URL())
	if err == nil {
		err = os.WriteFile(g.Credentials, key, 0o600)
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	go func(at *http.Server) { _ = at.Serve(l) }(g.http) // until it is closed
	return nil
}

// StartFakeGCSIn is StartFakeGCS for one test alone, with a folder that it chose.
func StartFakeGCSIn(tb testing.TB, dir string) *FakeGCS {
	tb.Helper()
	g, err := StartFakeGCS(tb.Context(), dir)
	must(tb, err)
	tb.Cleanup(g.Stop)
	return g
}

// Halt ends all connections, and takes no more until Restart.
func (g *FakeGCS) Halt() { _ = g.http.Close() } // nobody is asked any more

// Stop ends the server and what it holds open.
func (g *FakeGCS) Stop() {
	g.Halt()
	_ = g.Close() // its files are temporary
}

// MakeBucket makes a bucket.
func (g *FakeGCS) MakeBucket(name string, like fakegcs.Bucket) GCSBucket {
	g.Server.MakeBucket(name, like)
	return GCSBucket{&http.Client{Transport: inProcess{g.Trusted()}}, g.URL(), name}
}

// inProcess asks a handler without a network.
type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Result(), nil
}

// A FakeGCSServer is a process of fake-gcs-server, which knows no credentials.
type FakeGCSServer struct {
	Address string // 127.0.0.1:port

	*process
}

// URL is where clients reach it.
func (g *FakeGCSServer) URL() string { return "http://" + g.Address }

// StartFakeGCSServer starts a server that keeps its data in memory, and returns when it
// answers. The caller stops it; where the system can, it ends with this process too.
// ErrMissing says that it has to be built first.
func StartFakeGCSServer(ctx context.Context, dir string, env ...string) (*FakeGCSServer, error) {
	program, err := tool("fake-gcs-server", FakeGCSServerVersion)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	g := &FakeGCSServer{Address: address}
	cmd := exec.Command(program, "-scheme", "http", "-host", host, "-port", port, "-backend", "memory",
		"-public-host", address, "-external-url", g.URL(), "-log-level", "error")
	cmd.Env, cmd.Dir = append([]string{"HOME=" + dir}, env...), dir
	if g.process, err = start(ctx, cmd, g.ready); err != nil {
		return nil, fmt.Errorf("fake-gcs-server: %w", err)
	}
	return g, nil
}

func (g *FakeGCSServer) ready(ctx context.Context) error {
	_, err := GCSBucket{http.DefaultClient, g.URL(), ""}.ask(ctx, http.MethodGet, "/storage/v1/b?project=tests", nil)
	return err
}

// MakeBucket makes a bucket.
func (g *FakeGCSServer) MakeBucket(ctx context.Context, name string) (GCSBucket, error) {
	b := GCSBucket{http.DefaultClient, g.URL(), name}
	doc, err := json.Marshal(map[string]string{"name": name})
	if err == nil {
		_, err = b.ask(ctx, http.MethodPost, "/storage/v1/b?project=tests", doc)
	}
	return b, err
}

// A GCSBucket is one of a server, seen with another client than an agent's.
type GCSBucket struct {
	client *http.Client
	url    string
	Name   string
}

var _ conformance.Raw = GCSBucket{}

func (b GCSBucket) object(ns conformance.Namespace, key string) string {
	return "/storage/v1/b/" + b.Name + "/o/" + url.PathEscape(below(ns)+key)
}

// Put makes or replaces an object.
func (b GCSBucket) Put(ctx context.Context, ns conformance.Namespace, key string, data []byte) error {
	query := url.Values{"uploadType": {"media"}, "name": {below(ns) + key}}
	_, err := b.ask(ctx, http.MethodPost, "/upload/storage/v1/b/"+b.Name+"/o?"+query.Encode(), data)
	return err
}

// Get returns the bytes of an object.
func (b GCSBucket) Get(ctx context.Context, ns conformance.Namespace, key string) ([]byte, error) {
	return b.ask(ctx, http.MethodGet, b.object(ns, key)+"?alt=media", nil)
}

// Delete removes an object.
func (b GCSBucket) Delete(ctx context.Context, ns conformance.Namespace, key string) error {
	_, err := b.ask(ctx, http.MethodDelete, b.object(ns, key), nil)
	return err
}

// List returns the keys below a namespace.
func (b GCSBucket) List(ctx context.Context, ns conformance.Namespace) (all []string, err error) {
	query := url.Values{"prefix": {below(ns)}}
	for {
		doc, err := b.ask(ctx, http.MethodGet, "/storage/v1/b/"+b.Name+"/o?"+query.Encode(), nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			NextPageToken string
			Items         []struct{ Name string }
		}
		if err := json.Unmarshal(doc, &page); err != nil {
			return nil, err
		}
		for _, o := range page.Items {
			all = append(all, strings.TrimPrefix(o.Name, below(ns)))
		}
		if page.NextPageToken == "" {
			return all, nil
		}
		query.Set("pageToken", page.NextPageToken)
	}
}

// Leftovers returns the keys of parts.
func (b GCSBucket) Leftovers(ctx context.Context, ns conformance.Namespace) (left []string, err error) {
	all, err := b.List(ctx, ns)
	for _, key := range all {
		if strings.HasPrefix(key, "tmp/") {
			left = append(left, key)
		}
	}
	return left, err
}

// ask makes one request. What is not there is fs.ErrNotExist.
func (b GCSBucket) ask(ctx context.Context, method, target string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, b.url+target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header["Idempotency-Key"] = []string{} // not sent: may go again where the server has closed an idle connection
	r, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	doc, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return nil, err
	case r.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s %s: %w", method, target, fs.ErrNotExist)
	case r.StatusCode >= 300:
		return nil, fmt.Errorf("%s %s: %s: %s", method, target, r.Status, doc)
	}
	return doc, nil
}
