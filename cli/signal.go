package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// interruptible returns a context that ends with the first signal to stop. The
// second one ends the process at once. stop gives the signals back.
func (a *app) interruptible(ctx context.Context) (_ context.Context, stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancelCause(ctx)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		a.await(signals, done, cancel)
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		<-ended
		cancel(nil)
	}
}

func (a *app) await(signals <-chan os.Signal, done <-chan struct{}, cancel context.CancelCauseFunc) {
	for first := true; ; first = false {
		select {
		case <-signals:
		case <-done:
			return
		}
		if !first {
			a.quit(exitInterrupted)
			return
		}
		a.console.line("offsite: stopping cleanly; once more stops at once")
		cancel(errInterrupted)
	}
}
