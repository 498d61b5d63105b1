package core

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A Kind is one kind of agent: what a program links, and finds by the scheme of
// a URL or a word of its configuration.
type Kind struct {
	Name    string        // "local", "s3": as a configuration writes it
	Schemes []string      // of URLs; "" means words without a scheme, which are directories
	Summary string        // one line for people
	Config  func() Config // a new configuration with its defaults, a pointer to a struct
}

// A Config is the typed configuration of one agent. Its exported fields are its
// options; those that are secret are of type Secret.
type Config interface {
	// SetURL fills it from the form written on a command line. An unknown option,
	// or value of one, is ErrInvalid and says which are known.
	SetURL(u *url.URL) error

	// Place names the agent where nobody gave it a name: "s3:bucket/prefix".
	Place() string

	// Open checks the configuration (ErrInvalid) and returns the agent. It asks the
	// place nothing that an upload would not ask. ctx bounds Open, not the agent.
	Open(ctx context.Context, env Env) (Agent, error)
}

// Kinds are the kinds that a program links.
type Kinds []Kind

// Parse finds the kind of a place as it is written on a command line and returns
// its filled configuration. Errors are ErrInvalid, say which schemes are known,
// and never repeat a place that may hold a secret.
func (ks Kinds) Parse(place string) (Config, error) {
	u, err := parsePlace(place)
	if err != nil {
		return nil, err
	}
	for _, k := range ks {
		if slices.Contains(k.Schemes, u.Scheme) {
			c := k.Config()
			return c, c.SetURL(u)
		}
	}
	what := "a directory"
	if u.Scheme != "" {
		what = fmt.Sprintf("%q", clip(u.Scheme+":"))
	}
	return nil, Errorf(ErrInvalid, "no agent for %s here: known are %s", what, strings.Join(ks.known(), ", "))
}

// known are the words that places of these kinds begin with.
func (ks Kinds) known() []string {
	var known []string
	for _, k := range ks {
		for _, s := range k.Schemes {
			if s == "" {
				known = append(known, "a directory")
			} else {
				known = append(known, s+":")
			}
		}
	}
	slices.Sort(known)
	return known
}

func parsePlace(place string) (*url.URL, error) {
	if place == "" {
		return nil, Errorf(ErrInvalid, "a place is empty")
	}
	scheme, _, ok := strings.Cut(place, ":")
	// One letter is a drive, and a scheme has no slash.
	if !ok || len(scheme) < 2 || strings.ContainsFunc(scheme, func(r rune) bool { return !strings.ContainsRune(schemeRunes, r) }) {
		return &url.URL{Path: place}, nil
	}
	u, err := url.Parse(place)
	if err != nil {
		return nil, Errorf(ErrInvalid, "a place that begins with %q is no URL", clip(scheme+":"))
	}
	if _, has := u.User.Password(); has {
		return nil, Errorf(ErrInvalid, "the URL of a place that begins with %q holds a password: give it by the environment or a configuration", clip(scheme+":"))
	}
	return u, nil
}

const schemeRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-."

// Env is what an agent gets from the program around it; it reaches for nothing of
// this by itself. The zero Env works: see WithDefaults.
type Env struct {
	Name      string            // the agent's name; "" means Config.Place
	Now       func() time.Time  // the clock
	Chance    io.Reader         // randomness; safe for concurrent use
	Transport http.RoundTripper // below the provider's SDK; nil means the agent's own
	Dial      Dial              // for what is not HTTP
	StateDir  string            // where it may remember between processes; "" means nowhere
	CacheDir  string            // where it may keep what can be fetched again; "" means nowhere
	Log       *slog.Logger      // for what is no result and no error
	Limit     Limiter           // asked before bytes are sent or received; nil means no limit
	Progress  func(Progress)    // told how far a transfer is; quick, safe for concurrent use
	Patience  Patience          // how long it waits for its place
}

// Patience says how long an agent at the other end of a network waits for its
// place. A zero field means the default.
type Patience struct {
	// Stall ends a request on which no byte has moved for so long, which may then
	// be tried again. One on which bytes move may take as long as it takes. The
	// default is a minute.
	Stall time.Duration

	// Retry is how long a request that failed is tried again, from its first failure
	// to its last attempt; then the call answers with what went wrong. The default is
	// five minutes. An agent to which its place has never answered, or has not since a
	// call was given up, gives up after ten seconds at most.
	Retry time.Duration

	// Total bounds one upload as a whole, with all that it waits for. The default is
	// no bound.
	Total time.Duration
}

// WithDefaults returns p with the defaults where it has nothing else.
func (p Patience) WithDefaults() Patience {
	p.Stall = cmp.Or(p.Stall, time.Minute)
	p.Retry = cmp.Or(p.Retry, 5*time.Minute)
	return p
}

// Dial opens a network connection.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// A Limiter holds back transfers. golang.org/x/time/rate.Limiter is one.
type Limiter interface {
	// WaitN blocks until n bytes may pass, at most 64 KiB, or ctx ends.
	WaitN(ctx context.Context, n int) error
}

// Progress says how far one transfer is.
type Progress struct {
	Agent string
	ID    ID
	Done  int64 // bytes stored so far, those of an earlier try included, or read; less again after a new start
	Total int64 // bytes in all, or 0 while that is not known
}

// WithDefaults returns e with the system's clock, randomness and dialer, a silent
// logger, no limit and nobody told, where it has nothing else.
func (e Env) WithDefaults() Env {
	if e.Now == nil {
		e.Now = time.Now
	}
	if e.Chance == nil {
		e.Chance = rand.Reader
	}
	if e.Dial == nil {
		e.Dial = new(net.Dialer).DialContext
	}
	if e.Log == nil {
		e.Log = slog.New(slog.DiscardHandler)
	}
	if e.Limit == nil {
		e.Limit = noLimit{}
	}
	if e.Progress == nil {
		e.Progress = func(Progress) {}
	}
	e.Patience = e.Patience.WithDefaults()
	return e
}

type noLimit struct{}

func (noLimit) WaitN(ctx context.Context, _ int) error { return context.Cause(ctx) }
