package gcs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/auth/httptransport"
	"cloud.google.com/go/storage"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transport"
)

// An identity adds the token of Google's credentials to requests. They are looked for
// with the first one: on a machine of Google's, that is a question to it.
type identity struct {
	next    http.RoundTripper
	options credentials.DetectOptions
	turn    turn
	found   *auth.Credentials
	had     bool   // whether there was a token already
	project string // of the first token, and of those after it
}

// newIdentity answers ErrInvalid where a file is named that holds no credentials.
func newIdentity(c Config, next http.RoundTripper) (*identity, error) {
	own, err := transport.New(transport.Options{CABundle: c.CABundle, Connections: 2})
	if err != nil {
		return nil, err
	}
	own.DisableKeepAlives = true // nobody could close them
	i := &identity{next: next, turn: newTurn(), options: credentials.DetectOptions{
		Scopes:              []string{storage.ScopeFullControl, "https://www.googleapis.com/auth/cloud-platform"},
		Client:              transport.Client(own),
		DisableAsyncRefresh: true, // nothing goes on behind a call's back
	}}
	if c.Credentials != "" {
		if i.found, err = fromFile(c.Credentials, &i.options); err != nil {
			return nil, core.Errorf(core.ErrInvalid, "the credentials of %s: %w", c.Place(), err)
		}
	}
	return i, nil
}

// fromFile takes credentials of whatever type the file says: who names it, trusts it.
func fromFile(file string, options *credentials.DetectOptions) (*auth.Credentials, error) {
	doc, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var is struct{ Type credentials.CredType }
	if err := json.Unmarshal(doc, &is); err != nil {
		return nil, fmt.Errorf("%s is no JSON", file) // which may repeat a secret
	}
	return credentials.NewCredentialsFromJSON(is.Type, doc, options)
}

// RoundTrip signs a request.
func (i *identity) RoundTrip(r *http.Request) (*http.Response, error) {
	token, project, err := i.token(r.Context())
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	httptransport.SetAuthHeader(token, r)
	if project != "" {
		r.Header.Set(projectHeader, project)
	}
	return i.next.RoundTrip(r)
}

// token returns one that lives, and the project that goes with it.
func (i *identity) token(ctx context.Context) (t *auth.Token, project string, err error) {
	if err := i.turn.take(ctx); err != nil {
		return nil, "", err
	}
	defer i.turn.give()
	if i.found == nil {
		if i.found, err = credentials.DetectDefault(&i.options); err != nil {
			return nil, "", core.Errorf(core.ErrUnauthenticated, "no credentials: set GOOGLE_APPLICATION_CREDENTIALS, sign in with gcloud auth application-default login, or name a file by credentials: %w", err)
		}
	}
	if t, err = i.found.Token(ctx); err == nil && !i.had {
		i.project, err = i.found.QuotaProjectID(ctx)
		i.had = err == nil
	}
	if err != nil {
		return nil, "", i.refused(err)
	}
	return t, i.project, nil
}

// refused says why there is no token. That the issuer does not know the credentials does
// not pass; that it does not answer, or that they cannot be renewed, may.
func (i *identity) refused(err error) error {
	if e := (*auth.Error)(nil); errors.As(err, &e) && e.Response != nil {
		var said struct {
			Code string `json:"error"`
			Text string `json:"error_description"`
		}
		_ = json.Unmarshal(e.Body, &said) // what is no JSON says nothing
		kind := core.ErrUnauthenticated
		switch {
		case e.Response.StatusCode >= 500 || e.Temporary():
			kind = core.ErrUnavailable
		case strings.Contains(said.Text, "reasonable timeframe"):
			kind = core.ErrClock
			said.Text += " (set this machine's clock)"
		}
		return &core.Error{Kind: kind, Code: said.Code, Detail: "no token: " + said.Text, Err: transport.Quiet{Cause: err}}
	}
	if unanswered := transport.Unanswered(err, "the credentials"); i.had || unanswered.Detail != "" {
		unanswered.Detail = "no token: " + unanswered.Detail
		return unanswered
	}
	return core.Errorf(core.ErrUnauthenticated, "no token: %w", err)
}

// A turn is a lock that is waited for no longer than a context lives.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turn) give() { <-t }
