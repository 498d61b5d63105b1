package azure

import (
	"cmp"
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
	"github.com/offsite-backup/offsite/core/object"
)

// azurite is the server of this package's tests.
var azurite = emulator.Shared[*emulator.Azurite]{Start: emulator.StartAzurite}

// TestMain is also the process that the suite kills.
func TestMain(m *testing.M) {
	flag.Parse()
	for _, name := range environment {
		os.Unsetenv(name)
	}
	if os.Getenv(suiteTask) != "" {
		if err := child(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	azurite.Stop()
	os.Exit(code)
}

// environment keeps the configuration of whoever runs the tests out of them.
var environment = []string{
	"AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN",
	"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE",
	"AZURE_AUTHORITY_HOST", "AZURE_TOKEN_CREDENTIALS", "IDENTITY_ENDPOINT", "IDENTITY_HEADER",
}

// suiteTask and suiteServer tell a child process of the suite what to do and where.
const (
	suiteTask   = "AZURE_CONFORMANCE_TASK"
	suiteServer = "AZURE_CONFORMANCE_SERVER"
)

// TestAzure proves the agent by the common suite.
func TestAzure(t *testing.T) {
	server := azurite.Get(t)
	container := newContainer(t, server)
	target := target(server.Address, container.Name)
	target.Raw, target.Secrets = container, []string{emulator.AzuriteKey}
	target.Crash = func(task string) *exec.Cmd {
		where, err := json.Marshal(suiteChild{server.Address, container.Name})
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
type suiteChild struct{ Address, Container string }

func child(ctx context.Context) error {
	var c suiteChild
	if err := json.Unmarshal([]byte(os.Getenv(suiteServer)), &c); err != nil {
		return err
	}
	return conformance.Child(ctx, target(c.Address, c.Container), os.Getenv(suiteTask), os.Stdout)
}

// itemsInPage is how many blobs the server is asked for at once. The suite looks at
// the edges of pages, which are quick to reach where pages are small.
const itemsInPage = 10

// inFlight are the blocks that are sent at once.
const inFlight = 4

func target(address, container string) conformance.Target {
	open := func(_ context.Context, ns conformance.Namespace, env core.Env, url, roots string) (core.Agent, error) {
		c := Config{
			Container: container, Prefix: strings.Trim(string(ns), "/"), Endpoint: url + "/" + emulator.AzuriteAccount,
			Key: core.NewSecret(emulator.AzuriteKey), PartSize: minPart, Concurrency: inFlight, CABundle: roots,
		}
		s, err := newStore(c, env)
		if err != nil {
			return nil, err
		}
		s.page = new(int32)
		*s.page = itemsInPage
		return object.New(object.Retry(s, env), env), nil
	}
	return conformance.Target{
		Open: func(ctx context.Context, ns conformance.Namespace, env core.Env) (core.Agent, error) {
			return open(ctx, ns, env, "http://"+address, "")
		},
		OpenFaulty: func(ctx context.Context, ns conformance.Namespace, env core.Env, gate conformance.Gate) (core.Agent, error) {
			env.Transport = gated{gate, "/" + emulator.AzuriteAccount + "/" + container + "/" + strings.Trim(string(ns), "/") + "/"}
			env.Patience.Retry = time.Nanosecond // each fault is to be seen, not only those that stay
			return open(ctx, ns, env, "http://"+address, "")
		},
		Wire: &conformance.Wire{
			Server: address,
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
		},
		Limits: conformance.Limits{PartSize: minPart, InFlight: inFlight, Page: itemsInPage},
		Short:  testing.Short(),
	}
}

// answers are refusals as a list gets them.
func answers() (all []conformance.Answer) {
	for _, r := range refusals {
		switch r.want {
		case core.ErrNotFound, core.ErrExists, core.ErrChanged, core.ErrDamaged, core.ErrLocked: // none of these to a list
		default:
			all = append(all, conformance.Answer{
				Kind: r.want, Status: r.status, Code: r.code, RequestID: requestID,
				Header: http.Header{"X-Ms-Request-Id": {requestID}, "X-Ms-Error-Code": {r.code}, "Content-Type": {"application/xml"}},
				Body:   `<?xml version="1.0"?><Error><Code>` + r.code + "</Code><Message>By the test.</Message>" + r.detail + "</Error>",
			})
		}
	}
	return all
}

const requestID = "01234567-89ab-cdef-0123-456789abcdef"

func isPage(q fault.Request) bool { return strings.Contains(q.Target, "comp=list") }

var nextMarker = regexp.MustCompile(`<NextMarker>[^<]*</NextMarker>`)

var badPages = map[conformance.BadPage]func(fault.Request, []byte) []byte{
	conformance.CutPage: func(_ fault.Request, page []byte) []byte { return nextMarker.ReplaceAll(page, nil) },
	conformance.RepeatedPage: func(q fault.Request, page []byte) []byte {
		asked, _ := url.Parse(q.Target)                    // it was a request
		marker := cmp.Or(asked.Query().Get("marker"), "!") // none means the end, this begins anew
		return nextMarker.ReplaceAllLiteral(page, []byte("<NextMarker>"+marker+"</NextMarker>"))
	},
	conformance.EmptyPage: func(_ fault.Request, page []byte) []byte {
		return regexp.MustCompile(`(?s)<Blobs>.*</Blobs>`).ReplaceAll(page, []byte("<Blobs></Blobs>"))
	},
	conformance.BrokenPage: func(_ fault.Request, page []byte) []byte { return page[:len(page)/2] },
}

// gated asks a gate before each request. A fault is answered as Azure would.
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
	switch {
	case r.Method == http.MethodPut && query.Get("comp") == "block":
		return as(conformance.StepWrite)
	case r.Method == http.MethodPut && query.Get("comp") == "blocklist":
		return as(conformance.StepPublish)
	case r.Method == http.MethodPut:
		return as(conformance.StepWrite, conformance.StepPublish)
	case r.Method == http.MethodDelete:
		return as(conformance.StepRemove)
	case query.Has("comp"):
		return as(conformance.StepList)
	}
	return as(conformance.StepRead)
}

// refusal is what Azure says for a fault.
func refusal(r *http.Request, fault conformance.Fault) *http.Response {
	switch fault {
	case conformance.NoSpace:
		return refuse(r, http.StatusInsufficientStorage, "InsufficientStorage")
	case conformance.Denied:
		return refuse(r, http.StatusForbidden, "AuthorizationPermissionMismatch")
	}
	return refuse(r, http.StatusInternalServerError, "InternalError")
}

// refuse is Azure's answer of a status and a code, without a body to HEAD.
func refuse(r *http.Request, status int, code string) *http.Response {
	body := "<Error><Code>" + code + "</Code><Message>By the test.</Message></Error>"
	return prove.Answer(r, status, http.Header{"X-Ms-Request-Id": {requestID}, "X-Ms-Error-Code": {code}}, body)
}

// newContainer makes a container for one test.
func newContainer(t testing.TB, server *emulator.Azurite) emulator.Container {
	t.Helper()
	name := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(t.Name())), "-")
	c, err := server.MakeContainer(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
