package config_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/offsite-backup/offsite/agents/local"
	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
)

// kinds are what a program with three kinds of agents and one of hooks links. The
// bucket has options like a real one, and the box one of every type.
func kinds() config.Kinds {
	return config.Kinds{
		Agents: core.Kinds{
			local.Kind(),
			{Name: "s3", Schemes: []string{"s3"}, Config: func() core.Config { return new(bucket) }},
			{Name: "box", Schemes: []string{"box"}, Config: func() core.Config { return &box{Port: 22} }},
		},
		Hooks: []config.HookKind{command{}},
	}
}

// agent is one of which only its name and end matter.
type agent struct {
	core.Agent
	env    core.Env
	config core.Config
}

func (a *agent) Name() string { return a.env.Name }
func (a *agent) Close() error { return nil }

type bucket struct {
	Bucket    string `config:"required"`
	Prefix    string
	Region    string
	Endpoint  string
	PathStyle *bool
	PartSize  int64
	LockFor   time.Duration
	CABundle  string `config:"path"`
}

func (*bucket) SetURL(*url.URL) error { return errors.New("not from here") }
func (b *bucket) Place() string       { return "s3:" + b.Bucket + "/" + b.Prefix }

func (b *bucket) Open(ctx context.Context, env core.Env) (core.Agent, error) {
	if b.Bucket == "BAD" {
		return nil, core.Errorf(core.ErrInvalid, "%s: BAD is no bucket's name", b.Place())
	}
	if b.Bucket == "asks" {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:1/", nil)
		if err == nil {
			_, err = env.Transport.RoundTrip(req)
		}
		return nil, fmt.Errorf("asking: %w", err)
	}
	if b.Bucket == "unreadable" {
		return nil, core.Errorf(core.ErrDenied, "reading the AWS files")
	}
	return &agent{env: env, config: b}, nil
}

type box struct {
	Host       string
	Port       int
	Dir        string `config:"path"`
	Key        core.Secret
	Verify     bool
	Strict     *bool
	PartSize   int64
	KeepAlive  time.Duration
	KnownHosts []string `config:"set"`
	Args       []string
	Labels     map[string]string
	Tokens     map[string]core.Secret
	Vars       map[string]any
	TLS        struct{ MinVersion string }
	Internal   func() `config:"-"`
}

func (*box) SetURL(*url.URL) error { return errors.New("not from here") }
func (b *box) Place() string       { return "box:" + b.Host }

func (b *box) Open(_ context.Context, env core.Env) (core.Agent, error) {
	return &agent{env: env, config: b}, nil
}

// command is a kind of hook that does nothing but tell what it was given.
type command struct{}

type commandOptions struct {
	Pre, Post, After []string
	Env              map[string]any
	Dir              string `config:"path"`
}

func (command) Name() string { return "command" }
func (command) Config() any  { return new(commandOptions) }

// given is what a hook was made of.
type given struct{ commandOptions }

func (given) Error() string { return "what the hook was made of" }

func (command) Hook(name string, options any, _ *slog.Logger) (h core.Hook, err error) {
	c := options.(*commandOptions)
	if slices.Concat(c.Pre, c.Post, c.After) == nil {
		return h, core.Errorf(core.ErrInvalid, "%s runs nothing: give pre, post or after", name)
	}
	tell := func(argv []string) func(context.Context, core.Moment) error {
		if argv == nil {
			return nil
		}
		return func(context.Context, core.Moment) error { return given{*c} }
	}
	h.Pre, h.Post = tell(c.Pre), tell(c.Post)
	h.Ready = func(phase core.Phase) error {
		argv := map[core.Phase][]string{core.Pre: c.Pre, core.Post: c.Post, core.After: c.After}[phase]
		if slices.Contains(argv, "missing") {
			return errors.New("missing: no such program")
		}
		return nil
	}
	return h, nil
}
