package reference

import (
	"context"
	"encoding/hex"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"strings"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

// Target is the reference agent on a place of this process. It has everything but
// Crash, which needs a program, and Wire, which needs a network.
func (p *Place) Target() conformance.Target {
	target := targetOf(func(core.Env) (roundTrip, func(), error) { return p.do, func() {}, nil })
	target.Raw, target.Modes = back(p.do), back(p.do).modes
	return target
}

// At is the reference agent on a place that is served at an address.
func At(address string) conformance.Target {
	target := targetOf(over("http", address, nil))
	target.Wire = wire(address)
	return target
}

// over connects to a place that is served at an address. Its certificate is from
// one of the CAs of roots, in PEM, or of the system where that is nil.
func over(scheme, address string, roots []byte) connecting {
	return func(env core.Env) (roundTrip, func(), error) {
		c, err := dial(scheme, address, roots, env)
		if err != nil {
			return nil, nil, err
		}
		return c.do, c.http.CloseIdleConnections, nil
	}
}

// connecting makes the transport of one agent, and what ends its connections.
type connecting func(core.Env) (roundTrip, func(), error)

func noFault(conformance.Step) conformance.Fault { return conformance.NoFault }

func targetOf(connect connecting) conformance.Target {
	return conformance.Target{
		Open: func(_ context.Context, ns conformance.Namespace, env core.Env) (core.Agent, error) {
			return open(connect, ns, env, noFault)
		},
		OpenFaulty: func(_ context.Context, ns conformance.Namespace, env core.Env, gate conformance.Gate) (core.Agent, error) {
			return open(connect, ns, env, gate)
		},
		Secrets: []string{Secret},
		Limits:  conformance.Limits{PartSize: PartSize, InFlight: 1, Page: Page},
	}
}

func open(connect connecting, ns conformance.Namespace, env core.Env, gate conformance.Gate) (core.Agent, error) {
	env = env.WithDefaults()
	ask, hangUp, err := connect(env)
	if err != nil {
		return nil, err
	}
	a := &agent{name: env.Name, prefix: prefix(ns), ask: ask, hangUp: hangUp, gate: gate, now: env.Now, total: env.Patience.Total}
	if env.StateDir != "" {
		a.state = filepath.Join(env.StateDir, "sightings"+strings.ReplaceAll(a.prefix, "/", "-")+".json")
	}
	a.tokens = func() string {
		var raw [8]byte
		_, _ = env.Chance.Read(raw[:]) // a source of chance that fails has nothing better
		return hex.EncodeToString(raw[:])
	}
	a.life, a.end = context.WithCancelCause(context.Background())
	return a, nil
}

func prefix(ns conformance.Namespace) string { return strings.TrimSuffix(string(ns), "/") + "/" }

// back is the back door: it asks the place what no agent asks.
type back roundTrip

func (b back) one(ctx context.Context, ns conformance.Namespace, q request) (response, error) {
	q.Key = prefix(ns) + q.Key
	r := b(ctx, q)
	return r, r.Err
}

// Put is conformance.Raw's.
func (b back) Put(ctx context.Context, ns conformance.Namespace, key string, data []byte) error {
	_, err := b.one(ctx, ns, request{Op: replace, Key: key, Data: data, Mode: fileMode})
	return err
}

// Get is conformance.Raw's.
func (b back) Get(ctx context.Context, ns conformance.Namespace, key string) ([]byte, error) {
	r, err := b.one(ctx, ns, request{Op: get, Key: key, N: -1})
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r.Body)
}

// Delete is conformance.Raw's.
func (b back) Delete(ctx context.Context, ns conformance.Namespace, key string) error {
	_, err := b.one(ctx, ns, request{Op: remove, Key: key})
	return err
}

// List is conformance.Raw's.
func (b back) List(ctx context.Context, ns conformance.Namespace) ([]string, error) {
	r, err := b.one(ctx, ns, request{Op: list, Max: math.MaxInt})
	for i := range r.Keys {
		r.Keys[i] = strings.TrimPrefix(r.Keys[i], prefix(ns))
	}
	return r.Keys, err
}

// Leftovers is conformance.Raw's.
func (b back) Leftovers(ctx context.Context, ns conformance.Namespace) (all []string, err error) {
	r, err := b.one(ctx, ns, request{Op: uploads})
	for _, u := range r.Uploads {
		all = append(all, strings.TrimPrefix(u.Key, prefix(ns)))
	}
	return all, err
}

func (b back) modes(ctx context.Context, ns conformance.Namespace) (map[string]fs.FileMode, error) {
	keys, err := b.List(ctx, ns)
	all := map[string]fs.FileMode{}
	for _, k := range keys {
		r, statErr := b.one(ctx, ns, request{Op: stat, Key: k})
		if statErr != nil {
			return nil, statErr
		}
		all[k] = r.Mode
	}
	return all, err
}
