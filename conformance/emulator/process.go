package emulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// A process is one that runs until it is stopped or this process ends.
type process struct {
	handle *os.Process
	ended  chan struct{} // closed when the process has ended
	said   bytes.Buffer  // by the process; read after ended
}

// start starts a process and returns when ready does so without an error. It runs on
// a thread that stays as long, because a process that is to end with its parent ends
// with the thread that started it.
func start(ctx context.Context, cmd *exec.Cmd, ready func(context.Context) error) (*process, error) {
	p := &process{ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.said, &p.said
	endWithParent(cmd)
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		p.handle = cmd.Process
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is killed
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	if err := p.wait(ctx, ready); err != nil {
		p.Stop()
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(p.said.Bytes()))
	}
	return p, nil
}

var errEnded = errors.New("it ended by itself")

// Stop kills the server, which keeps its data. Twice is fine.
func (p *process) Stop() {
	_ = p.handle.Kill() // it may have ended
	<-p.ended
}

// wait asks until the server answers well.
func (p *process) wait(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return errEnded
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// freeAddress is one that nobody listens on. Somebody may before it is used: a server
// that can listen by itself does not ask.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
