package conformance

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/core"
)

// steady is the patience of an agent where a case is not about it: it bears a busy
// machine.
var steady = core.Patience{Stall: 20 * time.Second, Retry: 20 * time.Second}

// A wired agent talks to its server through a proxy that is its own.
type wired struct {
	core.Agent
	proxy *fault.Proxy
}

// proxied starts a proxy before the target's server. The trial closes it when its
// agents are closed.
func (t *trial) proxied(o fault.Options) *fault.Proxy {
	o.Upstream, o.Opaque = t.target.Wire.Server, t.target.Wire.Opaque
	p, err := fault.Start(o)
	t.ok(err, "a proxy")
	t.mu.Lock()
	defer t.mu.Unlock()
	t.after = append(t.after, p.Close)
	return p
}

// wired opens an agent behind a proxy. It remembers nothing of others.
func (t *trial) wired(ns Namespace, patience core.Patience) wired {
	p := t.proxied(fault.Options{})
	a, err := t.target.Wire.Open(t.ctx, ns, t.wiredEnv(patience), p.Addr())
	return wired{t.opened(a, err), p}
}

// deaf opens an agent at an address where nobody listens, nor will: it belongs to
// the other end of a connection, while a port that was closed is somebody's soon.
func (t *trial) deaf(ns Namespace, patience core.Patience) core.Agent {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	t.ok(err, "a listener")
	conn, err := net.Dial("tcp", l.Addr().String())
	t.ok(err, "a connection")
	t.mu.Lock()
	t.after = append(t.after, l.Close, conn.Close)
	t.mu.Unlock()
	return t.opened(t.target.Wire.Open(t.ctx, ns, t.wiredEnv(patience), conn.LocalAddr().String()))
}

func (t *trial) wiredEnv(patience core.Patience) core.Env {
	t.mu.Lock()
	t.wires++
	dir := fmt.Sprintf("%s/wire-%d", t.dir, t.wires)
	t.mu.Unlock()
	env := t.env()
	env.StateDir, env.CacheDir, env.Patience = dir+"/state", dir+"/cache", patience
	return env
}

// arm arms one rule.
func (w wired) arm(r *fault.Rule) *fault.Rule {
	w.proxy.Arm(r)
	return r
}

// fired demands that a fault happened.
func (t *trial) fired(r *fault.Rule, where string) {
	if r.Fired() == 0 {
		t.inconclusive("fault: "+r.Fault.String(), r.Fault.String()+" happens, "+where, "it did not")
	}
}

// spread runs f for each of n jobs in order, a few at a time: most of what they do
// is wait. When one fails, none is begun any more, and the first of those that
// failed, by number, is the case's.
func (t *trial) spread(n int, f func(i int)) {
	verdicts := make([]verdict, n)
	var next, failed atomic.Int64
	t.parallel(min(n, 8), func(int) {
		for failed.Load() == 0 {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			if verdicts[i] = t.guard(func() { f(i) }); verdicts[i].status != Pass {
				failed.Add(1)
			}
		}
	})
	for _, v := range verdicts {
		if v.status != "" && v.status != Pass {
			panic(v)
		}
	}
}

// ending runs a call with a context that ends long after the call should have, and
// demands that it did.
func (t *trial) ending(what string, most time.Duration, call func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- call(ctx) }()
	timer := time.NewTimer(most + busy)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-timer.C:
		t.fail(fmt.Sprintf("%s ends within %v", what, most), "it is still running after %v", most+busy)
		panic("not reached")
	}
}

func hasBody(q fault.Request) bool { return q.Length != 0 }

func reads(q fault.Request) bool { return q.Method == "GET" }

// readsArchive says whether a request is for an archive: its key stands in what is
// asked for, perhaps with its slash escaped. Google answers to the same method with
// what is known of an object, where alt=json says so.
func readsArchive(q fault.Request) bool {
	return reads(q) && inData.MatchString(q.Target) && !strings.Contains(q.Target, "alt=json")
}

var inData = regexp.MustCompile(`(?i)(\b|%2f)data(/|%2f)[0-9A-Za-z]`)

// proxySelf shows that what an agent moves goes through the proxy, which passes it
// unchanged: what the other cases see happen there, happens to this agent.
func proxySelf(t *trial) {
	ns := t.place()
	w := t.wired(ns, steady)
	s := t.source(t.severalParts())
	t.did("upload, list, read and delete of %d bytes through a proxy without a fault", s.size)
	t.store(w, s)
	t.same(w, s)
	t.lists(w, s)
	counts := w.proxy.Counts()
	if len(counts.Requests) == 0 || counts.Up < s.size || counts.Down < s.size {
		t.fail(fmt.Sprintf("at least %d bytes up and down, at the address that the agent was given", s.size),
			"%d requests with %d bytes up and %d down", len(counts.Requests), counts.Up, counts.Down)
	}
	if t.target.Wire.Page == nil || counts.Of(t.target.Wire.Page) == 0 {
		t.inconclusive("wire: page", "Wire.Page knows the requests of a list", "it knows none of %d requests", len(counts.Requests))
	}
	never := w.arm(&fault.Rule{Match: func(fault.Request) bool { return false }, Fault: fault.Reset()})
	always := &fault.Rule{Times: fault.Always, Fault: fault.Answer(403, nil, "")}
	if err := w.Delete(t.ctx, s.draft.ID); err != nil || never.Fired() != 0 {
		t.fail("Delete succeeds, and a fault for nothing never happens", "%v; it happened %d times", err, never.Fired())
	}
	w.arm(always)
	t.did("Get, with every request refused by the proxy")
	_, err := w.Get(t.ctx, s.draft.ID)
	t.fired(always, "at a Get")
	t.kind(err, core.ErrDenied, core.ErrUnauthenticated)
	t.absent(t.open(ns), s.draft.ID)
}
