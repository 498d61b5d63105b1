package object

import (
	"context"
	"errors"
	"io"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transfer"
)

// limitStep is the most that the limiter is asked for at once.
const limitStep = 64 << 10

// limited is body, held back by the limiter of the agent. Only what is sent goes
// through it, not what is read to compute a checksum: see Unlimited.
func (c *call) limited(ctx context.Context, body *io.SectionReader) *io.SectionReader {
	return io.NewSectionReader(limitedReader{ctx, body, c.agent.env.Limit}, 0, body.Size())
}

type limitedReader struct {
	ctx   context.Context
	body  io.ReaderAt
	limit core.Limiter
}

func (r limitedReader) ReadAt(p []byte, off int64) (int, error) {
	for n := len(p); n > 0; n -= limitStep {
		if err := r.limit.WaitN(r.ctx, min(n, limitStep)); err != nil {
			return 0, err
		}
	}
	return r.body.ReadAt(p, off)
}

// Unlimited is a body that a Store was given, to compute a checksum of that the place
// asks for: no limiter counts what is read of it. Each read is a sign of life all the
// same: the place is not waited for meanwhile.
func Unlimited(body *io.SectionReader) *io.SectionReader {
	inner, off, n := body.Outer()
	return io.NewSectionReader(unlimited(inner), off, n)
}

func unlimited(body io.ReaderAt) io.ReaderAt {
	switch in := body.(type) {
	case *io.SectionReader:
		return Unlimited(in)
	case limitedReader:
		return in.body
	case interface {
		Inside() io.ReaderAt
		Around(io.ReaderAt) io.ReaderAt
	}:
		return in.Around(unlimited(in.Inside()))
	}
	return body
}

// Alive is transfer.Alive, for a Store at the other end of what is not HTTP: it says
// that something moved on the connection that the request of ctx uses. Without it, a
// request ends after Patience.Stall that reads nothing of its body meanwhile.
func Alive(ctx context.Context) { transfer.Alive(ctx) }

// settled makes durable what was found rather than made.
func (a *Agent) settled(ctx context.Context, keys ...string) (err error) {
	s, ok := a.store.(Settler)
	if !ok {
		return nil
	}
	for _, key := range keys {
		err = errors.Join(err, s.Settled(ctx, key))
	}
	return err
}
