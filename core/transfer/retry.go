package transfer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/offsite-backup/offsite/core"
)

// A Retry tries the requests of one agent again while their errors are of a kind
// that may pass, and ends those on which nothing moves. It is safe for concurrent
// use.
type Retry struct {
	Patience core.Patience                                             // with its defaults
	Failed   func(ctx context.Context, err error, again time.Duration) // told of each failure that is tried again

	answered atomic.Bool // whether the place has answered since it was last given up
}

const (
	// A place that has never answered is more likely named wrongly than down for a
	// moment, and one that was given up is still down: whoever asks for it waits no
	// longer than this.
	unansweredRetry = 10 * time.Second

	firstWait = 250 * time.Millisecond
	mostWait  = 30 * time.Second
)

// Do makes a request until it succeeds, fails for good, or has failed for too
// long; then it returns the last error. The request runs under a watch of its own.
func (r *Retry) Do(ctx context.Context, request func(*Watch) error) error {
	for attempts := r.Begin(); ; {
		w := r.Watch(ctx)
		err := w.Error(request(w))
		w.End()
		if err == nil {
			r.answered.Store(true)
			return nil
		}
		if w.sourceFailed() {
			return err
		}
		if err := attempts.Again(ctx, err); err != nil {
			return err
		}
	}
}

// Attempts are those at one request.
type Attempts struct {
	retry  *Retry
	waits  *backoff.ExponentialBackOff
	failed int
	first  time.Time // when it failed first
}

// Begin returns the attempts at a new request.
func (r *Retry) Begin() *Attempts {
	a := &Attempts{retry: r, waits: backoff.NewExponentialBackOff()}
	a.waits.InitialInterval, a.waits.Multiplier, a.waits.MaxInterval = firstWait, 2, mostWait
	return a
}

// Progress says that the request got on: what fails from now on is tried again for
// as long as if nothing had failed before.
func (a *Attempts) Progress() {
	a.retry.answered.Store(true)
	if a.failed > 0 {
		a.failed = 0
		a.waits.Reset()
	}
}

// Again waits until the request may be made again, and returns nil then; or
// the error that the caller gets.
func (a *Attempts) Again(ctx context.Context, err error) error {
	a.retry.note(err)
	if ctx.Err() != nil || !core.KindOf(err).Temporary() {
		return err
	}
	if a.failed++; a.failed == 1 {
		a.first = time.Now()
	}
	wait := max(a.waits.NextBackOff(), retryAfter(err))
	if gone := time.Since(a.first); gone+wait > a.retry.budget() {
		a.retry.answered.Store(false) // the next request waits no longer than at a place that was never there
		return a.over(err, gone)
	}
	if a.retry.Failed != nil {
		a.retry.Failed(ctx, err, wait)
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

// over adds to the last error how often it was tried.
func (a *Attempts) over(err error, gone time.Duration) error {
	e := (*core.Error)(nil)
	if a.failed < 2 || !errors.As(err, &e) {
		return err
	}
	last := *e
	last.Detail = fmt.Sprintf("tried %d times in %v", a.failed, gone.Round(time.Second))
	if e.Detail != "" {
		last.Detail += ": " + e.Detail
	}
	return &last
}

// note remembers whether an error is an answer of the place.
func (r *Retry) note(err error) {
	e := (*core.Error)(nil)
	if errors.As(err, &e) && (e.Kind != core.ErrUnavailable || e.Code != "") {
		r.answered.Store(true)
	}
}

func (r *Retry) budget() time.Duration {
	if r.answered.Load() {
		return r.Patience.Retry
	}
	return min(r.Patience.Retry, unansweredRetry)
}

func retryAfter(err error) time.Duration {
	if e := (*core.Error)(nil); errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}
