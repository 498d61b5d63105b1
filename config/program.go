package config

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// defaultTimeout is what a program has that asks a vault over a network.
const defaultTimeout = 30 * time.Second

// output is what a program writes to its standard output. What it writes to its
// standard error is thrown away: nobody knows whether a secret stands in it.
func (s Secrets) output(ctx context.Context, argv []string) (string, error) {
	limit := cmp.Or(s.Timeout, defaultTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("did not end within %v", limit))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	out := bounded{stop: stop}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Env, cmd.WaitDelay = &out, []string{}, time.Second
	for name, value := range s.Env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	alone(cmd)
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		_ = cmd.Cancel() // what it started
	}
	switch exit := (*exec.ExitError)(nil); {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, exec.ErrWaitDelay):
		return "", errors.New("left something running that holds its output")
	case errors.As(err, &exit):
		return "", fmt.Errorf("%w; run it by hand to see what it says", exit)
	}
	return out.kept.String(), err
}

// bounded keeps up to maxSecret bytes. It has no method but Write, which a copy
// would pass by.
type bounded struct {
	kept bytes.Buffer
	stop context.CancelCauseFunc
}

// Write ends the program when it writes too much.
func (b *bounded) Write(p []byte) (int, error) {
	if b.kept.Len()+len(p) > maxSecret {
		err := fmt.Errorf("gives more than %d KiB", maxSecret>>10)
		b.stop(err)
		return 0, err
	}
	return b.kept.Write(p)
}
