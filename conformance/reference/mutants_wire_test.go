package reference

import (
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transport"
)

// brokenWires are broken where they reach their place over a network.
func brokenWires() []mutant {
	return []mutant{
		{name: "tries nothing again", kills: "J01", also: []string{"D09", "F06", "J07", "K03", "K04"}, with: onWire(func(c *client, ctx context.Context, q request) response { return c.try(ctx, q) })},
		{name: "takes a reset for the end", kills: "J02", also: []string{"J01", "K03", "K04"}, racy: true, with: endingAt(func(err error) bool { return errors.Is(err, syscall.ECONNRESET) })},
		{name: "takes a cut for the end", kills: "J10", also: []string{"J01", "K03", "K04"}, racy: true, with: endingAt(func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) })},
		{name: "takes its own commit for another's", kills: "J03", also: []string{"F07", "J01"}, with: onWire(func(c *client, ctx context.Context, q request) response {
			t := tries{client: c}
			for lost := false; ; lost = true {
				r := c.try(ctx, q)
				if lost && q.Op == commit && r.Err != nil && !core.KindOf(r.Err).Temporary() {
					return response{Err: core.Errorf(core.ErrDenied, "somebody else has stored it")}
				}
				if r.Err == nil {
					return c.resuming(ctx, q, r)
				}
				if err := t.again(ctx, r.Err); err != nil {
					return response{Err: err}
				}
			}
		})},
		{name: "stores another when an answer is lost", kills: "J03", also: []string{"D07", "F07", "J01", "J02", "J09"}, with: onWire(func(c *client, ctx context.Context, q request) response {
			if q.Op != commit {
				return c.do(ctx, q)
			}
			r := c.try(ctx, q)
			if core.KindOf(r.Err).Temporary() {
				c.do(ctx, request{Op: put, Key: q.Key + ".again", Data: []byte("once more"), Mode: q.Mode})
				return c.do(ctx, q)
			}
			return r
		})},
		{name: "waits for ever where nothing moves", kills: "J04", also: []string{"J06"}, with: onClient(func(c *client) { c.patience.Stall = time.Hour })},
		{name: "a fixed time for each request", kills: "J05", racy: true, with: onWire(func(c *client, ctx context.Context, q request) response {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(2*time.Second, func() { cancel(core.Errorf(core.ErrUnavailable, "it took too long")) })
			return c.do(ctx, q)
		})},
		{name: "waits for a head for ever", kills: "J06", also: []string{"J04"}, with: onTransport(func(inner http.RoundTripper, r *http.Request) (*http.Response, error) {
			ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
			arrived := make(chan struct{})
			context.AfterFunc(r.Context(), func() {
				if cause := context.Cause(r.Context()); core.KindOf(cause) == core.ErrUnavailable {
					<-arrived
				}
				cancel(context.Cause(r.Context()))
			})
			defer close(arrived)
			return inner.RoundTrip(r.WithContext(ctx))
		})},
		{name: "tries for ever", kills: "J07", also: []string{"D09", "F06", "F07", "G04", "J04", "J06", "J08"}, with: onClient(func(c *client) { c.patience.Retry = time.Hour })},
		{name: "does not wait as it was told", kills: "J07", racy: true, with: onTransport(func(inner http.RoundTripper, r *http.Request) (*http.Response, error) {
			in, err := inner.RoundTrip(r)
			if err == nil {
				in.Header.Del("Retry-After")
			}
			return in, err
		})},
		{name: "a dial that fails is no kind of error", kills: "J08", also: []string{"F03"}, with: onWire(func(c *client, ctx context.Context, q request) response {
			r := c.do(ctx, q)
			if op := (*net.OpError)(nil); errors.As(r.Err, &op) && op.Op == "dial" && !op.Timeout() {
				r.Err = errors.New("nobody is there")
			}
			return r
		})},
		{name: "sends what is left of a body", kills: "J09", also: []string{"D07", "J01", "J02", "J03", "J04"}, with: consuming},
		{name: "reads on when it is told to stop", kills: "G02", with: onWire(func(c *client, ctx context.Context, q request) response {
			if q.Op == get && q.N >= 0 {
				ctx = context.WithoutCancel(ctx)
			}
			return c.do(ctx, q)
		})},
		{name: "a connection for each failure", kills: "G04", racy: true, with: onWire(func(c *client, ctx context.Context, q request) response {
			r := c.do(ctx, q)
			if r.Err != nil && ctx.Err() == nil {
				fresh, err := transport.New(transport.Options{Connections: Connections})
				if err != nil {
					return response{Err: err}
				}
				c.http.Transport = fresh
			}
			return r
		})},
		{name: "reads to the end what nobody wants", kills: "G05", racy: true, with: onRange(func(_ *archive, _ context.Context, _, _ int64, r io.ReadCloser) io.ReadCloser { return draining{r} })},
		{name: "asks twice for each entry", kills: "I05", with: onList(func(a core.Agent, _ conformance.Raw, _ conformance.Namespace, all iter.Seq2[core.Backup, error], yield func(core.Backup, error) bool) {
			for b, err := range all {
				if err == nil {
					_, _ = a.(*agent).stat(context.Background(), b.Archive) // as if to be sure
				}
				if !yield(b, err) {
					return
				}
			}
		})},
		{name: "goes to its server past the proxy", kills: "Q02", also: others(conformance.MeansWire, "Q02"), with: func(r *rig) {
			r.wire = func(c *client) roundTrip {
				c.base.Scheme, c.base.Host = "http", r.server
				return c.do
			}
		}},
	}
}

// others are the cases that need a means, but for one.
func others(means conformance.Means, but string) (ids []string) {
	for _, c := range conformance.Cases() {
		for _, m := range c.Needs {
			if m == means && c.ID != but {
				ids = append(ids, c.ID)
			}
		}
	}
	return ids
}

// onWire replaces what a client does with a request.
func onWire(f func(c *client, ctx context.Context, q request) response) func(*rig) {
	return func(r *rig) {
		r.wire = func(c *client) roundTrip {
			return func(ctx context.Context, q request) response { return f(c, ctx, q) }
		}
	}
}

// onClient changes a client.
func onClient(f func(c *client)) func(*rig) {
	return func(r *rig) {
		r.wire = func(c *client) roundTrip {
			f(c)
			return c.do
		}
	}
}

// onTransport changes what a client does with one HTTP request.
func onTransport(f func(inner http.RoundTripper, r *http.Request) (*http.Response, error)) func(*rig) {
	return onClient(func(c *client) { c.http.Transport = &brokenTransport{c.http.Transport, f} })
}

type brokenTransport struct {
	http.RoundTripper
	f func(inner http.RoundTripper, r *http.Request) (*http.Response, error)
}

func (b *brokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return b.f(b.RoundTripper, r)
}

func (b *brokenTransport) CloseIdleConnections() {
	if closer, ok := b.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// resuming is an answer whose body goes on where it breaks off.
func (c *client) resuming(ctx context.Context, q request, r response) response {
	if q.Op == get && q.N >= 0 {
		r.Body = &download{tries: tries{client: c}, ctx: ctx, q: q, body: r.Body}
	}
	return r
}

// endingAt takes some errors in the body of an archive for its end.
func endingAt(end func(error) bool) func(*rig) {
	return func(r *rig) {
		onWire(func(c *client, ctx context.Context, q request) response {
			r := c.do(ctx, q)
			if d, ok := r.Body.(*download); ok {
				r.Body = &givingUp{d, end}
			}
			return r
		})(r)
		onRange(func(_ *archive, _ context.Context, _, _ int64, in io.ReadCloser) io.ReadCloser {
			return &patient{in, end}
		})(r)
	}
}

// givingUp reads on after all errors but some.
type givingUp struct {
	*download
	at func(error) bool
}

func (g *givingUp) Read(p []byte) (int, error) {
	n, err := g.body.Read(p[:min(int64(len(p)), g.q.N)])
	g.q.Off, g.q.N = g.q.Off+int64(n), g.q.N-int64(n)
	switch {
	case n > 0 || err == nil:
		return n, nil
	case g.q.N == 0:
		return 0, io.EOF
	case g.at(err):
		return 0, err
	}
	return 0, g.open(err)
}

// consuming sends each part from a stream: when it is sent again, its first half is
// gone. The checksums are those of what is sent.
func consuming(r *rig) {
	var mu sync.Mutex
	sent := map[upload]map[int]core.CRC64{}
	onWire(func(c *client, ctx context.Context, q request) response {
		u := upload{q.Key, q.Token}
		mu.Lock()
		if q.Op == commit {
			q.Sums = append([]core.CRC64(nil), q.Sums...)
			for i, sum := range sent[u] {
				q.Sums[i] = sum
			}
		}
		mu.Unlock()
		if q.Op != putPart {
			return c.do(ctx, q)
		}
		t := tries{client: c}
		for {
			r := c.try(ctx, q)
			if r.Err == nil {
				return r
			}
			if err := t.again(ctx, r.Err); err != nil {
				return response{Err: err}
			}
			q.Data = q.Data[len(q.Data)/2:]
			q.Sums = []core.CRC64{core.CRC64(crc64nvme.Checksum(q.Data))}
			mu.Lock()
			if sent[u] == nil {
				sent[u] = map[int]core.CRC64{}
			}
			sent[u][q.Index] = q.Sums[0]
			mu.Unlock()
		}
	})(r)
}

// draining reads what is left before it closes.
type draining struct{ io.ReadCloser }

func (d draining) Close() error {
	_, _ = io.Copy(io.Discard, d.ReadCloser) // nobody wants it
	return d.ReadCloser.Close()
}
