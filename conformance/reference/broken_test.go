package reference

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

// A mutant is the reference agent with one behaviour broken.
type mutant struct {
	name  string
	kills string   // the case that is there to find it
	also  []string // cases that touch the same behaviour, and may find it too
	racy  bool     // whether what is observed changes from run to run
	with  func(*rig)

	opaque bool // whether the suite is not told how its server speaks
}

// A rig is the reference's target, taken apart: what a mutant changes of it.
type rig struct {
	ask    func(roundTrip) roundTrip                                                     // below the agent, not below the back door
	wire   func(*client) roundTrip                                                       // below that, where the place is reached over a network
	gate   func(conformance.Gate) conformance.Gate                                       // asked by the agent
	agent  func(inner core.Agent, ns conformance.Namespace, raw conformance.Raw) *broken // around the agent
	space  func(conformance.Namespace) conformance.Namespace
	bound  bool   // to the context of Open
	server string // where the place is served
	lacks  map[conformance.Means]string
	ending <-chan struct{} // closed when the test ends
}

func (r *rig) below(ask roundTrip) roundTrip {
	if r.ask != nil {
		return r.ask(ask)
	}
	return ask
}

// target breaks the target of a place.
func (r *rig) target(place *Place, whole conformance.Target) conformance.Target {
	ask := r.below(place.do)
	near := func(core.Env) (roundTrip, func(), error) { return ask, func() {}, nil }
	whole.OpenFaulty = func(ctx context.Context, ns conformance.Namespace, env core.Env, gate conformance.Gate) (core.Agent, error) {
		return r.open(ctx, near, ns, env, gate, whole.Raw)
	}
	whole.Open = func(ctx context.Context, ns conformance.Namespace, env core.Env) (core.Agent, error) {
		return r.open(ctx, near, ns, env, noFault, whole.Raw)
	}
	whole.Wire.Open = func(ctx context.Context, ns conformance.Namespace, env core.Env, address string) (core.Agent, error) {
		return r.open(ctx, r.over("http", address, nil), ns, env, noFault, whole.Raw)
	}
	whole.Wire.OpenTLS = func(ctx context.Context, ns conformance.Namespace, env core.Env, address string, roots []byte) (core.Agent, error) {
		return r.open(ctx, r.over("https", address, roots), ns, env, noFault, whole.Raw)
	}
	whole.Lacks, r.server = r.lacks, whole.Wire.Server
	return whole
}

// over breaks a client.
func (r *rig) over(scheme, address string, roots []byte) connecting {
	return func(env core.Env) (roundTrip, func(), error) {
		c, err := dial(scheme, address, roots, env)
		if err != nil {
			return nil, nil, err
		}
		ask := c.do
		if r.wire != nil {
			ask = r.wire(c)
		}
		return r.below(ask), c.http.CloseIdleConnections, nil
	}
}

// open breaks an agent.
func (r *rig) open(ctx context.Context, connect connecting, ns conformance.Namespace, env core.Env, gate conformance.Gate, raw conformance.Raw) (core.Agent, error) {
	if r.gate != nil {
		gate = r.gate(gate)
	}
	place := ns
	if r.space != nil {
		place = r.space(ns)
	}
	inner, err := open(connect, place, env, gate)
	if err != nil || r.agent == nil && !r.bound {
		return inner, err
	}
	b := &broken{}
	if r.agent != nil {
		b = r.agent(inner, ns, raw)
	}
	b.inner = inner.(*agent)
	if r.bound {
		b.get = func(callCtx context.Context, id core.ID) (core.Backup, error) {
			if ctx.Err() != nil {
				return core.Backup{}, context.Cause(ctx)
			}
			return inner.Get(callCtx, id)
		}
	}
	return b, nil
}

// broken is an agent with some of its calls replaced. Those that are nil are the
// reference's.
type broken struct {
	inner  *agent
	upload func(context.Context, core.Source) error
	open   func(context.Context, core.ID) (core.Archive, error)
	list   func(context.Context) iter.Seq2[core.Backup, error]
	get    func(context.Context, core.ID) (core.Backup, error)
	delete func(context.Context, core.ID) error
	close  func() error
	sweep  func(context.Context, func(core.ID) bool) iter.Seq2[core.Leftover, error]
}

func (b *broken) Name() string { return b.inner.Name() }

func (b *broken) Upload(ctx context.Context, src core.Source) error {
	if b.upload != nil {
		return b.upload(ctx, src)
	}
	return b.inner.Upload(ctx, src)
}

func (b *broken) Open(ctx context.Context, id core.ID) (core.Archive, error) {
	if b.open != nil {
		return b.open(ctx, id)
	}
	return b.inner.Open(ctx, id)
}

func (b *broken) List(ctx context.Context) iter.Seq2[core.Backup, error] {
	if b.list != nil {
		return b.list(ctx)
	}
	return b.inner.List(ctx)
}

func (b *broken) Get(ctx context.Context, id core.ID) (core.Backup, error) {
	if b.get != nil {
		return b.get(ctx, id)
	}
	return b.inner.Get(ctx, id)
}

func (b *broken) Delete(ctx context.Context, id core.ID) error {
	if b.delete != nil {
		return b.delete(ctx, id)
	}
	return b.inner.Delete(ctx, id)
}

func (b *broken) Close() error {
	if b.close != nil {
		return b.close()
	}
	return b.inner.Close()
}

func (b *broken) Sweep(ctx context.Context, own func(core.ID) bool) iter.Seq2[core.Leftover, error] {
	if b.sweep != nil {
		return b.sweep(ctx, own)
	}
	return b.inner.Sweep(ctx, own)
}

// The ways to break an agent.
type (
	agents    = func(a core.Agent, ns conformance.Namespace, raw conformance.Raw) *broken
	uploading = func(ctx context.Context, a core.Agent, src core.Source) error
	listing   = func(a core.Agent, raw conformance.Raw, ns conformance.Namespace, all iter.Seq2[core.Backup, error], yield func(core.Backup, error) bool)
)

func onAgent(f agents) func(*rig) { return func(r *rig) { r.agent = f } }

func onUpload(f uploading) func(*rig) {
	return onAgent(func(a core.Agent, _ conformance.Namespace, _ conformance.Raw) *broken {
		return &broken{upload: func(ctx context.Context, src core.Source) error { return f(ctx, a, src) }}
	})
}

func onList(f listing) func(*rig) {
	return onAgent(func(a core.Agent, ns conformance.Namespace, raw conformance.Raw) *broken {
		return &broken{list: func(ctx context.Context) iter.Seq2[core.Backup, error] {
			return func(yield func(core.Backup, error) bool) { f(a, raw, ns, a.List(ctx), yield) }
		}}
	})
}

func onGet(f func(ctx context.Context, a core.Agent, id core.ID) (core.Backup, error)) func(*rig) {
	return onAgent(func(a core.Agent, _ conformance.Namespace, _ conformance.Raw) *broken {
		return &broken{get: func(ctx context.Context, id core.ID) (core.Backup, error) { return f(ctx, a, id) }}
	})
}

// onRange replaces what a read of a range gives.
func onRange(f func(a *archive, ctx context.Context, off, n int64, r io.ReadCloser) io.ReadCloser) func(*rig) {
	return onAgent(func(a core.Agent, _ conformance.Namespace, _ conformance.Raw) *broken {
		return &broken{open: func(ctx context.Context, id core.ID) (core.Archive, error) {
			opened, err := a.Open(ctx, id)
			if err != nil {
				return nil, err
			}
			return &ranged{opened.(*archive), f}, nil
		}}
	})
}

type ranged struct {
	*archive
	f func(a *archive, ctx context.Context, off, n int64, r io.ReadCloser) io.ReadCloser
}

func (r *ranged) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	in, err := r.archive.Range(ctx, off, n)
	if err != nil {
		return nil, err
	}
	return r.f(r.archive, ctx, off, n, in), nil
}

// asked is a roundTrip of a context that is known.
type asked = func(request) response

// onPlace breaks what the agent asks its place.
func onPlace(f func(q request, ask asked) response) func(*rig) {
	return func(r *rig) {
		r.ask = func(ask roundTrip) roundTrip {
			return func(ctx context.Context, q request) response {
				return f(q, func(q request) response { return ask(ctx, q) })
			}
		}
	}
}

// onSteps breaks which steps are taken, and what becomes of their faults.
func onSteps(f func(s conformance.Step, gate conformance.Gate) conformance.Fault) func(*rig) {
	return func(r *rig) {
		r.gate = func(gate conformance.Gate) conformance.Gate {
			return func(s conformance.Step) conformance.Fault { return f(s, gate) }
		}
	}
}

// altered is a source that a broken agent reads otherwise than it is.
type altered struct {
	core.Source
	reader func(io.ReaderAt) io.ReaderAt
	backup func(core.Backup) core.Backup
}

func (s *altered) Reader(ctx context.Context) io.ReaderAt {
	if s.reader != nil {
		return s.reader(s.Source.Reader(ctx))
	}
	return s.Source.Reader(ctx)
}

func (s *altered) Backup(ctx context.Context) (core.Backup, error) {
	b, err := s.Source.Backup(ctx)
	if err == nil && s.backup != nil {
		b = s.backup(b)
	}
	return b, err
}

// onMetadata stores other metadata than it was given.
func onMetadata(f func(core.Backup) core.Backup) func(*rig) {
	return onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
		return a.Upload(ctx, &altered{Source: src, backup: f})
	})
}

// readerAt is a function as an io.ReaderAt.
type readerAt func(p []byte, off int64) (int, error)

func (f readerAt) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

// believing uploads whatever the source gives under its own sums, where believe
// says so of what was promised and what came.
func believing(believe func(promised, came core.Backup) bool, broken func(error) bool) func(*rig) {
	return onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
		sums := core.NewSums(nil)
		var mu sync.Mutex
		reader := func(r io.ReaderAt) io.ReaderAt {
			return readerAt(func(p []byte, off int64) (int, error) {
				n, err := r.ReadAt(p, off)
				mu.Lock()
				defer mu.Unlock()
				_, _ = sums.Write(p[:n]) // the reference reads in order, each byte once
				if err != nil && broken != nil && broken(err) {
					err = io.EOF
				}
				return n, err
			})
		}
		return a.Upload(ctx, &altered{Source: src, reader: reader, backup: func(promised core.Backup) core.Backup {
			mu.Lock()
			defer mu.Unlock()
			came := promised
			sums.Fill(&came)
			if believe(promised, came) {
				return came
			}
			return promised
		}})
	})
}

// kindly gives an error of one kind another.
func kindly(err error, from, to core.ErrorKind) error {
	if !errors.Is(err, from) {
		return err
	}
	e := &core.Error{Kind: to, Detail: "broken"}
	if was := (*core.Error)(nil); errors.As(err, &was) {
		e.Agent, e.Op, e.ID = was.Agent, was.Op, was.ID
	}
	return e
}

// pass yields a whole sequence, and says whether the caller goes on.
func pass(all iter.Seq2[core.Backup, error], yield func(core.Backup, error) bool) bool {
	for b, err := range all {
		if !yield(b, err) {
			return false
		}
	}
	return true
}
