package cli

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"github.com/offsite-backup/offsite/core"
)

// A limiter lets so many bytes a second pass. Unlike rate.Limiter.WaitN it waits
// when the end of ctx is nearer than its turn: a transfer that is cut off goes on
// from there, and one that never begins does not.
type limiter struct {
	*rate.Limiter
	now func() time.Time
}

// limitBurst is the most that is asked for at once, see core.Limiter.
const limitBurst = 64 << 10

// newLimiter returns nil, which is no limit, for 0.
func newLimiter(bytes int64, now func() time.Time) core.Limiter {
	if bytes == 0 {
		return nil
	}
	return limiter{rate.NewLimiter(rate.Limit(bytes), limitBurst), now}
}

// WaitN waits for the turn of n bytes, or for the end of ctx.
func (l limiter) WaitN(ctx context.Context, n int) error {
	now := l.now()
	turn := l.ReserveN(now, n)
	wait := time.NewTimer(turn.DelayFrom(now))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		turn.CancelAt(l.now())
		return context.Cause(ctx)
	}
}
