package reference

import (
	"context"
	"encoding/hex"
	"io/fs"
	"math"
	"path/filepath"
	"strings"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

// Target is the reference agent on a place. It has everything but Crash, which
// needs a program.
func (p *Place) Target() conformance.Target { return target(p.do) }

// Target is the reference agent on a place of another process.
func (c *Connection) Target() conformance.Target { return target(c.do) }

func target(ask transport) conformance.Target {
	at := func(ns conformance.Namespace, env core.Env, gate conformance.Gate) (core.Agent, error) {
		return open(ask, ns, env, gate), nil
	}
	return conformance.Target{
		Open: func(_ context.Context, ns conformance.Namespace, env core.Env) (core.Agent, error) {
			return at(ns, env, func(conformance.Step) conformance.Fault { return conformance.NoFault })
		},
		OpenFaulty: func(_ context.Context, ns conformance.Namespace, env core.Env, gate conformance.Gate) (core.Agent, error) {
			return at(ns, env, gate)
		},
		Raw:     back(ask),
		Modes:   back(ask).modes,
		Secrets: []string{"the-secret-of-the-reference"},
		Limits:  conformance.Limits{PartSize: PartSize, Page: Page},
	}
}

func open(ask transport, ns conformance.Namespace, env core.Env, gate conformance.Gate) *agent {
	env = env.WithDefaults()
	a := &agent{name: env.Name, prefix: prefix(ns), ask: ask, gate: gate, now: env.Now}
	if env.StateDir != "" {
		a.state = filepath.Join(env.StateDir, "sightings"+strings.ReplaceAll(a.prefix, "/", "-")+".json")
	}
	a.tokens = func() string {
		var raw [8]byte
		_, _ = env.Chance.Read(raw[:]) // a source of chance that fails has nothing better
		return hex.EncodeToString(raw[:])
	}
	a.life, a.end = context.WithCancelCause(context.Background())
	return a
}

func prefix(ns conformance.Namespace) string { return strings.TrimSuffix(string(ns), "/") + "/" }

// back is the back door: it asks the place what no agent asks.
type back transport

func (b back) one(ns conformance.Namespace, q request) (response, error) {
	q.Key = prefix(ns) + q.Key
	r := b(q)
	if r.Err != "" {
		return r, r.Err
	}
	return r, nil
}

// Put is conformance.Raw's.
func (b back) Put(_ context.Context, ns conformance.Namespace, key string, data []byte) error {
	_, err := b.one(ns, request{Op: replace, Key: key, Data: data, Mode: fileMode})
	return err
}

// Get is conformance.Raw's.
func (b back) Get(_ context.Context, ns conformance.Namespace, key string) ([]byte, error) {
	r, err := b.one(ns, request{Op: get, Key: key, N: -1})
	return r.Data, err
}

// Delete is conformance.Raw's.
func (b back) Delete(_ context.Context, ns conformance.Namespace, key string) error {
	_, err := b.one(ns, request{Op: remove, Key: key})
	return err
}

// List is conformance.Raw's.
func (b back) List(_ context.Context, ns conformance.Namespace) ([]string, error) {
	r, err := b.one(ns, request{Op: list, Max: math.MaxInt})
	for i := range r.Keys {
		r.Keys[i] = strings.TrimPrefix(r.Keys[i], prefix(ns))
	}
	return r.Keys, err
}

// Leftovers is conformance.Raw's.
func (b back) Leftovers(_ context.Context, ns conformance.Namespace) (all []string, err error) {
	r, err := b.one(ns, request{Op: uploads})
	for _, u := range r.Uploads {
		all = append(all, strings.TrimPrefix(u.Key, prefix(ns)))
	}
	return all, err
}

func (b back) modes(ctx context.Context, ns conformance.Namespace) (map[string]fs.FileMode, error) {
	keys, err := b.List(ctx, ns)
	all := map[string]fs.FileMode{}
	for _, k := range keys {
		r, statErr := b.one(ns, request{Op: stat, Key: k})
		if statErr != nil {
			return nil, statErr
		}
		all[k] = r.Mode
	}
	return all, err
}
