package transfer

import (
	"context"
	"errors"
	"io"

	"github.com/offsite-backup/offsite/core"
)

// Range reads n bytes from off, which open opens, and opens again where it
// stands when that breaks off for a reason that may pass. The caller closes it.
func (r *Retry) Range(ctx context.Context, off, n int64, open func(ctx context.Context, off, n int64) (io.ReadCloser, error)) (io.ReadCloser, error) {
	rr := &ranged{ctx: ctx, retry: r, attempts: r.Begin(), open: open, off: off, left: n}
	return rr, rr.start()
}

// A ranged is a range on its way.
type ranged struct {
	ctx      context.Context
	retry    *Retry
	attempts *Attempts
	open     func(ctx context.Context, off, n int64) (io.ReadCloser, error)
	off      int64
	left     int64
	moved    int64 // bytes since the attempts began anew

	watch *Watch // of body
	body  io.ReadCloser
	broke error // how body ended
	over  error // what every further Read answers
}

// enough bytes make an attempt one that got on. With less, a place that breaks
// off after each byte would be asked for ever.
const enough = 64 << 10

func (r *ranged) start() error {
	for {
		r.watch = r.retry.Watch(r.ctx)
		body, err := r.open(r.watch, r.off, r.left)
		r.watch.Pause()
		if err == nil {
			r.body = body
			return nil
		}
		err = r.watch.Error(err)
		r.watch.End()
		if err := r.attempts.Again(r.ctx, err); err != nil {
			return err
		}
	}
}

func (r *ranged) Read(p []byte) (int, error) {
	for r.left > 0 && len(p) > 0 {
		if r.broke != nil && r.over == nil {
			r.over = r.again()
		}
		if r.over != nil {
			return 0, r.over
		}
		if n := r.read(p[:min(int64(len(p)), r.left)]); n > 0 {
			return n, nil
		}
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	return 0, nil
}

func (r *ranged) read(p []byte) int {
	r.watch.Moved()
	n, err := r.body.Read(p)
	r.watch.Pause()
	r.broke = err
	r.off, r.left, r.moved = r.off+int64(n), r.left-int64(n), r.moved+int64(n)
	if r.moved >= enough {
		r.attempts.Progress()
		r.moved = 0
	}
	return n
}

// again opens the rest after it broke off in the middle. What it cannot mend stays.
func (r *ranged) again() error {
	err := r.watch.Error(r.broke)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = core.Errorf(core.ErrUnavailable, "it broke off: %w", io.ErrUnexpectedEOF)
	}
	_ = r.Close()
	if err = r.attempts.Again(r.ctx, err); err == nil {
		err = r.start()
	}
	r.broke = nil
	return err
}

// Close ends the request.
func (r *ranged) Close() error {
	r.watch.End()
	return r.body.Close()
}
