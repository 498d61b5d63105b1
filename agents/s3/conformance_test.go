package s3

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// minio is the server of this package's tests.
var minio = emulator.Shared[*emulator.MinIO]{Start: emulator.StartMinIO}

// TestMain is also the process that the suite kills.
func TestMain(m *testing.M) {
	flag.Parse()
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
	minio.Stop()
	os.Exit(code)
}

// environment keeps the AWS configuration of whoever runs the tests out of them.
var environment = map[string]string{
	"AWS_CONFIG_FILE":             os.DevNull,
	"AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	"AWS_EC2_METADATA_DISABLED":   "true",
	"AWS_ACCESS_KEY_ID":           "",
	"AWS_SECRET_ACCESS_KEY":       "",
	"AWS_SESSION_TOKEN":           "",
	"AWS_PROFILE":                 "",
	"AWS_REGION":                  "",
	"AWS_CA_BUNDLE":               "",
}

// suiteTask and suiteServer tell a child process of the suite what to do and where.
const (
	suiteTask   = "S3_CONFORMANCE_TASK"
	suiteServer = "S3_CONFORMANCE_SERVER"
)

// TestS3 proves the agent by the common suite.
func TestS3(t *testing.T) {
	server := minio.Get(t)
	bucket := newBucket(t, server, false)
	signIn(t, server.Key)
	target := target(server.URL, bucket.Name)
	target.Raw, target.Secrets = bucket, []string{server.Key.Secret}
	target.Crash = func(task string) *exec.Cmd {
		where, err := json.Marshal(suiteChild{server.URL, bucket.Name, server.Key})
		if err != nil {
			panic(err)
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), suiteTask+"="+task, suiteServer+"="+string(where))
		return cmd
	}
	conformance.Run(t, target)
}

// TestNaturalPages lists what does not fit in one page of the server's own size, by
// the agent as Config.Open makes it.
func TestNaturalPages(t *testing.T) {
	server := minio.Get(t)
	bucket := newBucket(t, server, false)
	signIn(t, server.Key)
	conformance.Run(t, conformance.Target{
		Open: func(ctx context.Context, ns conformance.Namespace, env core.Env) (core.Agent, error) {
			c := &Config{Bucket: bucket.Name, Prefix: strings.Trim(string(ns), "/"), Endpoint: server.URL}
			return c.Open(ctx, env)
		},
		Raw:    bucket,
		Limits: conformance.Limits{PartSize: 32 << 20, Page: 1000},
		Select: func(c conformance.Case) bool { return c.ID == "E02" },
	})
}

// A suiteChild is what a child process has to know.
type suiteChild struct {
	URL, Bucket string
	Key         emulator.Credentials
}

func child(ctx context.Context) error {
	var c suiteChild
	if err := json.Unmarshal([]byte(os.Getenv(suiteServer)), &c); err != nil {
		return err
	}
	os.Setenv("AWS_ACCESS_KEY_ID", c.Key.ID)
	os.Setenv("AWS_SECRET_ACCESS_KEY", c.Key.Secret)
	return conformance.Child(ctx, target(c.URL, c.Bucket), os.Getenv(suiteTask), os.Stdout)
}

// keysInPage is how many keys the server is asked for at once. The suite looks at
// the edges of pages, which are quick to reach where pages are small.
const keysInPage = 10

// inFlight are the parts that are sent at once.
const inFlight = 4

func target(server, bucket string) conformance.Target {
	open := func(ctx context.Context, ns conformance.Namespace, env core.Env, endpoint, roots string) (core.Agent, error) {
		c := Config{Bucket: bucket, Prefix: strings.Trim(string(ns), "/"), Endpoint: endpoint, PartSize: minPart, Concurrency: inFlight, CABundle: roots}
		return inSmallPages(ctx, c, env)
	}
	return conformance.Target{
		Open: func(ctx context.Context, ns conformance.Namespace, env core.Env) (core.Agent, error) {
			return open(ctx, ns, env, server, "")
		},
		OpenFaulty: func(ctx context.Context, ns conformance.Namespace, env core.Env, gate conformance.Gate) (core.Agent, error) {
			env.Transport = gated{gate, "/" + bucket + "/" + strings.Trim(string(ns), "/") + "/"}
			env.Patience.Retry = time.Nanosecond // each fault is to be seen, not only those that stay
			return open(ctx, ns, env, server, "")
		},
		Wire: &conformance.Wire{
			Server: strings.TrimPrefix(server, "http://"),
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
			conformance.MeansModes: "objects have no permission bits",
			conformance.MeansSync:  "an object is durable when the server answers",
		},
		Limits: conformance.Limits{PartSize: minPart, InFlight: inFlight, Page: keysInPage},
		Short:  testing.Short(),
	}
}

// inSmallPages is Config.Open with an agent that asks for small pages.
func inSmallPages(ctx context.Context, c Config, env core.Env) (core.Agent, error) {
	s, err := newStore(ctx, c, env)
	if err != nil {
		return nil, err
	}
	s.inPages(keysInPage)
	return agent(s, env), nil
}

// answers are refusals as a list gets them, and one that comes after a commit began
// as a success.
func answers() (all []conformance.Answer) {
	say := func(kind core.ErrorKind, status int, code string) conformance.Answer {
		return conformance.Answer{
			Kind: kind, Status: status, Header: http.Header{"X-Amz-Request-Id": {requestID}, "Content-Type": {"application/xml"}},
			Body: "<Error><Code>" + code + "</Code></Error>", Code: code, RequestID: requestID,
		}
	}
	for _, r := range refusals {
		switch r.want {
		case core.ErrNotFound, core.ErrExists, core.ErrChanged, core.ErrDamaged: // none of these to a list
		default:
			all = append(all, say(r.want, r.status, r.code))
		}
	}
	late := say(core.ErrUnavailable, http.StatusOK, "InternalError")
	late.Only = func(q fault.Request) bool {
		return q.Method == http.MethodPost && strings.Contains(q.Target, "uploadId=")
	}
	return append(all, late)
}

const requestID = "0123456789ABCDEF"

func isPage(q fault.Request) bool { return strings.Contains(q.Target, "list-type=2") }

var nextToken = regexp.MustCompile(`<NextContinuationToken>[^<]*</NextContinuationToken>`)

var badPages = map[conformance.BadPage]func(fault.Request, []byte) []byte{
	conformance.CutPage: func(_ fault.Request, page []byte) []byte { return nextToken.ReplaceAll(page, nil) },
	conformance.RepeatedPage: func(q fault.Request, page []byte) []byte {
		asked, _ := url.Parse(q.Target) // it was a request
		token := asked.Query().Get("continuation-token")
		return nextToken.ReplaceAllLiteral(page, []byte("<NextContinuationToken>"+token+"</NextContinuationToken>"))
	},
	conformance.EmptyPage: func(_ fault.Request, page []byte) []byte {
		return regexp.MustCompile(`(?s)<Contents>.*</Contents>`).ReplaceAll(page, nil)
	},
	conformance.BrokenPage: func(_ fault.Request, page []byte) []byte { return page[:len(page)/2] },
}

// gated asks a gate before each request. A fault is answered as S3 would.
type gated struct {
	gate  conformance.Gate
	above string // the path of all keys
}

func (g gated) RoundTrip(r *http.Request) (*http.Response, error) {
	for _, step := range g.steps(r) {
		if fault := g.gate(step); fault != conformance.NoFault {
			return refusal(r, fault), nil
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

func (g gated) steps(r *http.Request) []conformance.Step {
	query := r.URL.Query()
	step := conformance.Step{
		Key:  strings.TrimPrefix(r.URL.Path, g.above),
		Size: int(max(0, r.ContentLength)),
	}
	as := func(ops ...conformance.StepOp) (all []conformance.Step) {
		for _, op := range ops {
			step.Op = op
			all = append(all, step)
		}
		return all
	}
	switch r.Method {
	case http.MethodPost:
		if query.Has("uploads") {
			return as(conformance.StepCreate)
		}
		return as(conformance.StepPublish)
	case http.MethodPut:
		if query.Has("partNumber") {
			return as(conformance.StepWrite)
		}
		return as(conformance.StepWrite, conformance.StepPublish)
	case http.MethodDelete:
		return as(conformance.StepRemove)
	}
	if query.Has("list-type") || query.Has("uploads") || query.Has("uploadId") {
		return as(conformance.StepList)
	}
	return as(conformance.StepRead)
}

// refusal is what S3 says for a fault.
func refusal(r *http.Request, fault conformance.Fault) *http.Response {
	switch fault {
	case conformance.NoSpace:
		return refuse(r, http.StatusInsufficientStorage, "XMinioStorageFull")
	case conformance.Denied:
		return refuse(r, http.StatusForbidden, "AccessDenied")
	}
	return refuse(r, http.StatusInternalServerError, "InternalError")
}

// refuse is S3's answer of a status and a code, without a body to HEAD.
func refuse(r *http.Request, status int, code string) *http.Response {
	body := "<Error><Code>" + code + "</Code><Message>By the test.</Message></Error>"
	return prove.Answer(r, status, http.Header{"X-Amz-Request-Id": {requestID}}, body)
}

// newBucket makes a bucket for one test.
func newBucket(t testing.TB, server *emulator.MinIO, locked bool) emulator.Bucket {
	t.Helper()
	name := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(t.Name())), "-")
	bucket, err := server.MakeBucket(t.Context(), name, locked)
	if err != nil {
		t.Fatal(err)
	}
	return bucket
}

// signIn makes credentials those of the environment.
func signIn(t testing.TB, key emulator.Credentials) {
	t.Setenv("AWS_ACCESS_KEY_ID", key.ID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", key.Secret)
	t.Setenv("AWS_SESSION_TOKEN", key.Token)
}
