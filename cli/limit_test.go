package cli

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiterKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(128<<10, time.Now)
		began := time.Now()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 16 {
					if err := l.WaitN(t.Context(), 64<<10); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		// 4 MiB, of which the first 64 KiB pass at once.
		if took, want := time.Since(began), 63*time.Second/2; took != want {
			t.Errorf("4 MiB at 128 KiB a second took %v, not %v", took, want)
		}
	})
}

// TestLimiterWaitsBehindADeadline: rate.Limiter gives up at once.
func TestLimiterWaitsBehindADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(1<<10, time.Now)
		if err := l.WaitN(t.Context(), 64<<10); err != nil {
			t.Fatal(err)
		}
		over := errors.New("time is over")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Second, over)
		defer cancel()
		began := time.Now()
		if err := l.WaitN(ctx, 64<<10); !errors.Is(err, over) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		// What did not pass does not count.
		began = time.Now()
		if err := l.WaitN(t.Context(), 1<<10); err != nil || time.Since(began) > time.Second {
			t.Errorf("%v, after %v", err, time.Since(began))
		}
	})
}

func TestNoLimit(t *testing.T) {
	if l := newLimiter(0, time.Now); l != nil {
		t.Errorf("%v", l)
	}
}
