package gcs

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/emulator/fakegcs"
	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// fake is the server of this package's tests.
var fake = emulator.Shared[*emulator.FakeGCS]{Start: emulator.StartFakeGCS}

// TestMain is also the process that the suite kills.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("XDG_CACHE_HOME") == "" { // where the servers are
		os.Setenv("XDG_CACHE_HOME", filepath.Join(os.Getenv("HOME"), ".cache"))
	}
	for name, value := range environment {
		os.Setenv(name, value)
	}
	if os.Getenv(suiteTask) != "" {
		if err := child(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	fake.Stop()
	emulated.Stop()
	os.Exit(code)
}

// environment keeps the Google configuration of whoever runs the tests out of them.
var environment = map[string]string{
	"GOOGLE_APPLICATION_CREDENTIALS": "",
	"GOOGLE_CLOUD_QUOTA_PROJECT":     "",
	"STORAGE_EMULATOR_HOST":          "",
	"CLOUDSDK_CONFIG":                os.DevNull,
	"HOME":                           os.DevNull, // where gcloud keeps credentials
	"APPDATA":                        os.DevNull,
	"NO_GCE_CHECK":                   "true",
}

// suiteTask and suiteServer tell a child process of the suite what to do and where.
const (
	suiteTask   = "GCS_CONFORMANCE_TASK"
	suiteServer = "GCS_CONFORMANCE_SERVER"
)

// TestGCS proves the agent by the common suite, with archives in parts.
func TestGCS(t *testing.T) { suite(t, uploadAuto, nil) }

// TestGCSInSessions proves it with archives that go up in one session each, at the short
// level, and with processes that are killed. Left out are a resume that remembers nothing,
// and a sweep of what is not remembered, for which a session ends by itself after a week;
// and faults in the middle of each body, of which the first begins a session and has a few
// bytes. See session_test.go.
func TestGCSInSessions(t *testing.T) {
	suite(t, uploadSession, func(c conformance.Case) bool {
		return (c.Level == conformance.Short || c.ID == "C07") && !slices.Contains([]string{"D07", "J02", "J04", "K01", "Q03"}, c.ID)
	})
}

func suite(t *testing.T, upload string, which func(conformance.Case) bool) {
	server := fake.Get(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	of := suiteChild{server.URL(), bucket.Name, server.Credentials, upload}
	target := of.target()
	target.Select = which
	target.Raw, target.Secrets = sessionBucket{bucket, server}, []string{secretOf(t, server.Credentials)}
	target.Crash = func(task string) *exec.Cmd {
		where, err := json.Marshal(of)
		if err != nil {
			panic(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), suiteTask+"="+task, suiteServer+"="+string(where))
		return cmd
	}
	conformance.Run(t, target)
}

// A suiteChild is what a child process has to know.
type suiteChild struct{ URL, Bucket, Credentials, Upload string }

func child(ctx context.Context) error {
	var c suiteChild
	if err := json.Unmarshal([]byte(os.Getenv(suiteServer)), &c); err != nil {
		return err
	}
	return conformance.Child(ctx, c.target(), os.Getenv(suiteTask), os.Stdout)
}

// itemsInPage is how many objects the server is asked for at once. The suite looks at
// the edges of pages, which are quick to reach where pages are small.
const itemsInPage = 10

// inFlight are the parts that are sent at once. Each has a connection of its own, which
// the suite slows down: with fewer, uploads are slow.
const inFlight = 2

func (of suiteChild) target() conformance.Target {
	open := func(ctx context.Context, ns conformance.Namespace, env core.Env, endpoint, roots string) (core.Agent, error) {
		c := Config{
			Bucket: of.Bucket, Prefix: strings.Trim(string(ns), "/"), Endpoint: endpoint, Credentials: of.Credentials,
			Emulator: of.Credentials == "", PartSize: minPart, Concurrency: inFlight, CABundle: roots, Upload: of.Upload,
		}
		s, err := newStore(ctx, c, env)
		if err != nil {
			return nil, err
		}
		s.page = itemsInPage
		return object.New(object.Retry(s, env), env), nil
	}
	return conformance.Target{
		Open: func(ctx context.Context, ns conformance.Namespace, env core.Env) (core.Agent, error) {
			return open(ctx, ns, env, of.URL, "")
		},
		OpenFaulty: func(ctx context.Context, ns conformance.Namespace, env core.Env, gate conformance.Gate) (core.Agent, error) {
			env.Transport = gated{gate, strings.Trim(string(ns), "/") + "/"}
			env.Patience.Retry = time.Nanosecond // each fault is to be seen, not only those that stay
			return open(ctx, ns, env, of.URL, "")
		},
		Wire: &conformance.Wire{
			Server: strings.TrimPrefix(of.URL, "http://"),
			Open: func(ctx context.Context, ns conformance.Namespace, env core.Env, address string) (core.Agent, error) {
				return open(ctx, ns, env, "http://"+address, "")
			},
			OpenTLS: func(ctx context.Context, ns conformance.Namespace, env core.Env, address string, roots []byte) (core.Agent, error) {
				bundle, err := os.CreateTemp("", "offsite-roots-")
				if err != nil {
					return nil, err
				}
				defer os.Remove(bundle.Name())
				if _, err := bundle.Write(roots); err != nil {
					return nil, err
				}
				return open(ctx, ns, env, "https://"+address, bundle.Name())
			},
			Page:     isPage,
			BadPages: badPages,
			Answers:  answers(),
		},
		Lacks: map[conformance.Means]string{
			conformance.MeansModes:     "objects have no permission bits",
			conformance.MeansSync:      "an object is durable when the server answers",
			conformance.MeansLateError: "an answer's status is all that it says",
			conformance.MeansClock:     "the server looks at no clock; who gives tokens does",
		},
		Limits: conformance.Limits{PartSize: minPart, InFlight: inFlight, Page: itemsInPage},
		Short:  testing.Short(),
	}
}

// sessionBucket counts sessions among what is left.
type sessionBucket struct {
	emulator.GCSBucket
	server *emulator.FakeGCS
}

// Leftovers returns the keys of parts, and of what sessions are to become.
func (b sessionBucket) Leftovers(ctx context.Context, ns conformance.Namespace) ([]string, error) {
	left, err := b.GCSBucket.Leftovers(ctx, ns)
	return append(left, b.server.Sessions(b.Name, strings.Trim(string(ns), "/")+"/")...), err
}

// answers are refusals as a list gets them.
func answers() (all []conformance.Answer) {
	for _, r := range refusals {
		switch r.want {
		case core.ErrNotFound, core.ErrExists, core.ErrChanged, core.ErrDamaged, core.ErrLocked: // none of these to a list
		default:
			all = append(all, conformance.Answer{
				Kind: r.want, Status: r.status, Code: r.reason, RequestID: requestID,
				Header: http.Header{"X-Guploader-Uploadid": {requestID}, "Content-Type": {"application/json"}},
				Body:   errorBody(r.status, r.reason, r.message),
			})
		}
	}
	return all
}

func errorBody(status int, reason, message string) string {
	return fmt.Sprintf(`{"error":{"code":%d,"message":%q,"errors":[{"message":%q,"domain":"global","reason":%q}]}}`, status, message, message, reason)
}

const requestID = "ABPtcPq0123456789"

var listing = regexp.MustCompile(`^/storage/v1/b/[^/]+/o\?`)

func isPage(q fault.Request) bool { return q.Method == http.MethodGet && listing.MatchString(q.Target) }

var nextToken = regexp.MustCompile(`"nextPageToken":"[^"]*"`)

var badPages = map[conformance.BadPage]func(fault.Request, []byte) []byte{
	// That there is more is said by the token alone.
	conformance.CutPage: func(_ fault.Request, page []byte) []byte {
		return nextToken.ReplaceAllLiteral(page, []byte(`"nextPageToken":""`))
	},
	conformance.RepeatedPage: func(q fault.Request, page []byte) []byte {
		asked, _ := url.Parse(q.Target) // it was a request
		return nextToken.ReplaceAllLiteral(page, []byte(`"nextPageToken":"`+asked.Query().Get("pageToken")+`"`))
	},
	conformance.EmptyPage: func(_ fault.Request, page []byte) []byte {
		return regexp.MustCompile(`(?s)"items":\[.*\],`).ReplaceAll(page, nil)
	},
	conformance.BrokenPage: func(_ fault.Request, page []byte) []byte { return page[:len(page)/2] },
}

// gated asks a gate before each request. A fault is answered as the service would.
type gated struct {
	gate  conformance.Gate
	above string // what all names begin with
}

func (g gated) RoundTrip(r *http.Request) (*http.Response, error) {
	for _, step := range g.steps(r) {
		if fault := g.gate(step); fault != conformance.NoFault {
			return refusal(r, fault), nil
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

var objectPath = regexp.MustCompile(`^/storage/v1/b/[^/]+/o/([^/]+)(/compose)?$`)

func (g gated) steps(r *http.Request) []conformance.Step {
	query := r.URL.Query()
	name := query.Get("name")
	if words := objectPath.FindStringSubmatch(r.URL.EscapedPath()); words != nil {
		name, _ = url.PathUnescape(words[1]) // which the client escaped
	}
	step := conformance.Step{Key: strings.TrimPrefix(name, g.above), Size: int(max(0, r.ContentLength))}
	as := func(ops ...conformance.StepOp) (all []conformance.Step) {
		for _, op := range ops {
			step.Op = op
			all = append(all, step)
		}
		return all
	}
	part := strings.HasPrefix(step.Key, tmp)
	switch {
	case query.Get("upload_id") != "" && r.Method == http.MethodPut:
		switch span := r.Header.Get("Content-Range"); {
		case span == "bytes */*":
			return as(conformance.StepRead)
		case strings.HasSuffix(span, "/*"):
			return as(conformance.StepWrite)
		}
		return as(conformance.StepWrite, conformance.StepPublish)
	case query.Get("uploadType") == "resumable" && r.Method == http.MethodPost:
		return as(conformance.StepCreate)
	case query.Get("uploadType") == "multipart" && part:
		return as(conformance.StepWrite)
	case query.Get("uploadType") == "multipart":
		return as(conformance.StepWrite, conformance.StepPublish)
	case r.Method == http.MethodPost && part:
		return as(conformance.StepCreate)
	case r.Method == http.MethodPost:
		return as(conformance.StepPublish)
	case r.Method == http.MethodDelete:
		return as(conformance.StepRemove)
	case strings.HasSuffix(r.URL.Path, "/o"):
		return as(conformance.StepList)
	}
	return as(conformance.StepRead)
}

// refusal is what the service says for a fault.
func refusal(r *http.Request, fault conformance.Fault) *http.Response {
	switch fault {
	case conformance.NoSpace:
		return refuse(r, http.StatusForbidden, "quotaExceeded", "By the test.")
	case conformance.Denied:
		return refuse(r, http.StatusForbidden, "forbidden", "By the test.")
	}
	return refuse(r, http.StatusInternalServerError, "backendError", "By the test.")
}

// refuse is an answer of a status and a reason, as text to who asks for bytes.
func refuse(r *http.Request, status int, reason, message string) *http.Response {
	kind, body := "application/json", errorBody(status, reason, message)
	if r.URL.Query().Get("alt") == "media" {
		kind, body = "text/html; charset=UTF-8", message
	}
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"X-Guploader-Uploadid": {requestID}, "Content-Type": {kind}},
		Body:   io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

// newBucket makes a bucket for one test.
func newBucket(t testing.TB, server *emulator.FakeGCS, like fakegcs.Bucket) emulator.GCSBucket {
	t.Helper()
	return server.MakeBucket(bucketFor(t), like)
}

// bucketFor is a name that a bucket may have.
func bucketFor(t testing.TB) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(t.Name())), "-")
}

// secretOf is the key in a file of credentials.
func secretOf(t testing.TB, file string) string {
	t.Helper()
	var c struct {
		Key string `json:"private_key"`
	}
	doc, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(doc, &c)
	}
	lines := strings.Split(c.Key, "\n")
	if err != nil || len(lines) < 3 {
		t.Fatal("no key", err)
	}
	return lines[1]
}
