package transfer

import (
	"context"
	"errors"
	"io"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A Watch ends one request on which nothing moves, and lets one on which bytes
// move go on for ever. It is for one goroutine, but for Moved and the bodies.
type Watch struct {
	context.Context // the request's
	cancel          context.CancelCauseFunc
	timer           *time.Timer
	stall           time.Duration
	kept            bool

	mu     sync.Mutex
	source error // of a body
	paused bool
}

// Watch begins to watch a request. The caller calls End.
func (r *Retry) Watch(ctx context.Context) *Watch {
	w := &Watch{stall: r.Patience.Stall}
	if !r.answered.Load() {
		w.stall = min(w.stall, 2*unansweredRetry)
	}
	w.Context, w.cancel = context.WithCancelCause(ctx)
	w.start()
	// Of HTTP: to wait until another request gives its connection back says nothing of
	// the place. To open one has a limit of its own.
	w.Context = httptrace.WithClientTrace(w.Context, &httptrace.ClientTrace{
		GetConn: func(string) { w.Pause() },
		GotConn: func(httptrace.GotConnInfo) { w.Moved() },
	})
	w.Context = context.WithValue(w.Context, watchKey{}, w)
	return w
}

type watchKey struct{}

// Alive says that something moved just now on the connection that the request of ctx
// uses. It is for agents whose bytes no HTTP carries, and changes nothing while the
// place is not waited for, or where nobody watches.
func Alive(ctx context.Context) {
	w, ok := ctx.Value(watchKey{}).(*Watch)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.paused {
		w.timer.Reset(w.stall)
	}
}

var errStalled = errors.New("no answer, and not a byte moved,")

func (w *Watch) start() {
	stalled := core.Errorf(core.ErrUnavailable, "%w for %v", errStalled, w.stall)
	w.timer = time.AfterFunc(w.stall, func() { w.cancel(stalled) })
}

// Slow waits ten times as long: for a request whose answer may take its time.
func (w *Watch) Slow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.stall *= 10
	w.start()
}

// Moved says that something moved just now.
func (w *Watch) Moved() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paused = false
	w.timer.Reset(w.stall)
}

// Pause stops the clock until Moved: what is waited for now is not the place.
func (w *Watch) Pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paused = true
	w.timer.Stop()
}

// Keep ends the watch and not the context, which then ends with the caller's: for
// a request that answers with something that lives on.
func (w *Watch) Keep() {
	w.Pause()
	w.kept = true
}

// End ends the watch and the request's context.
func (w *Watch) End() {
	w.Pause()
	if !w.kept {
		w.cancel(nil)
	}
}

// Error says why a request failed: for a source that cannot be read, for a stall,
// or for err, as the provider's library put it.
func (w *Watch) Error(err error) error {
	if err == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.source != nil {
		return w.source
	}
	if cause := context.Cause(w); errors.Is(cause, errStalled) {
		return cause
	}
	return err
}

// Body is body, each read of which is a sign of life. The time that it takes to
// read is the source's, not the place's.
func (w *Watch) Body(body *io.SectionReader) *io.SectionReader {
	return io.NewSectionReader(watchedBody{w, body}, 0, body.Size())
}

type watchedBody struct {
	watch *Watch
	body  io.ReaderAt
}

func (b watchedBody) ReadAt(p []byte, off int64) (int, error) {
	b.watch.Pause()
	defer b.watch.Moved()
	n, err := b.body.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) && b.watch.Err() == nil {
		b.watch.broken(err)
	}
	return n, err
}

// Inside is the body that is watched.
func (b watchedBody) Inside() io.ReaderAt { return b.body }

// Around is another body that is watched as this one is.
func (b watchedBody) Around(body io.ReaderAt) io.ReaderAt { return watchedBody{b.watch, body} }

func (w *Watch) sourceFailed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.source != nil
}

// broken remembers a source's error, which no other attempt mends.
func (w *Watch) broken(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.source = err
}
