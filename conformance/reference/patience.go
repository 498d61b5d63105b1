package reference

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net/url"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// tries are those at one request.
type tries struct {
	*client
	n     int
	first time.Time // when it failed first
}

// The waits between tries, and how long a place is tried that never answered.
const (
	firstWait  = 50 * time.Millisecond
	mostWait   = 5 * time.Second
	unanswered = 10 * time.Second
)

// again waits until a request is to be made once more, and returns nil then, or the
// error that is the request's result.
func (t *tries) again(ctx context.Context, err error) error {
	if ctx.Err() != nil || !core.KindOf(err).Temporary() {
		return err
	}
	if t.n++; t.n == 1 {
		t.first = time.Now()
	}
	most := min(mostWait, firstWait<<min(t.n, 10))
	wait := most/2 + rand.N(most/2)
	if r := (*refusal)(nil); errors.As(err, &r) {
		wait = max(wait, r.after)
	}
	budget := t.patience.Retry
	if !t.answered.Load() {
		budget = min(budget, unanswered)
	}
	if time.Since(t.first)+wait > budget {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A watch ends a request on which nothing moves. One on which bytes move may take
// as long as it takes, and so may who reads them.
type watch struct {
	ctx     context.Context // the request's
	cancel  context.CancelCauseFunc
	stall   time.Duration
	timer   *time.Timer
	stalled error // the cause of its end
}

// newWatch watches a request from when it has a connection.
func newWatch(ctx context.Context, stall time.Duration) *watch {
	w := &watch{stall: stall, stalled: core.Errorf(core.ErrUnavailable, "nothing moved for %v", stall)}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(stall, func() { w.cancel(w.stalled) })
	w.pause()
	return w
}

func (w *watch) moved() { w.timer.Reset(w.stall) }
func (w *watch) pause() { w.timer.Stop() }

func (w *watch) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// why is the error of a request that was not answered, or not to the end. A
// certificate that is not good will not be better the next time.
func (w *watch) why(err error) error {
	if outer := (*url.Error)(nil); errors.As(err, &outer) {
		err = outer.Err // without the address
	}
	cause := context.Cause(w.ctx)
	bad := (*tls.CertificateVerificationError)(nil)
	switch {
	case cause == w.stalled:
		return w.stalled
	case cause != nil:
		return cause // the caller's
	case errors.As(err, &bad):
		return core.Errorf(core.ErrUnauthenticated, "it does not prove who it is: %w", err)
	}
	return core.Errorf(core.ErrUnavailable, "%w", err)
}

// outgoing is the body of a request under a watch.
type outgoing struct {
	watch *watch
	io.Reader
}

func (b *outgoing) Read(p []byte) (int, error) {
	b.watch.moved()
	return b.Reader.Read(p)
}

// incoming is the body of an answer under a watch.
type incoming struct {
	watch *watch
	io.ReadCloser
}

func (b *incoming) Read(p []byte) (int, error) {
	b.watch.moved()
	n, err := b.ReadCloser.Read(p)
	b.watch.pause()
	if err != nil && err != io.EOF {
		err = b.watch.why(err)
	}
	return n, err
}

func (b *incoming) Close() error {
	b.watch.end()
	return b.ReadCloser.Close()
}

// A download is the body of a range, which is asked for again from where it stands
// when it breaks off.
type download struct {
	tries
	ctx  context.Context
	q    request // the rest of the range
	body io.ReadCloser
	err  error
}

func (d *download) Read(p []byte) (int, error) {
	for d.err == nil && d.q.N > 0 {
		n, err := d.body.Read(p[:min(int64(len(p)), d.q.N)])
		d.q.Off, d.q.N = d.q.Off+int64(n), d.q.N-int64(n)
		if n > 0 {
			d.n = 0 // it gets on
			return n, nil
		}
		if err != nil {
			d.err = d.open(err)
		}
	}
	if d.err == nil {
		return 0, io.EOF
	}
	return 0, d.err
}

// open asks for the rest, after an error.
func (d *download) open(err error) error {
	for {
		_ = d.body.Close() // it is no use any more
		if err == io.EOF {
			err = core.Errorf(core.ErrUnavailable, "it ends %d bytes early", d.q.N)
		}
		if err = d.again(d.ctx, err); err != nil {
			return err
		}
		r := d.try(d.ctx, d.q)
		if r.Err == nil {
			d.body = r.Body
			return nil
		}
		err = r.Err
	}
}

func (d *download) Close() error { return d.body.Close() }
