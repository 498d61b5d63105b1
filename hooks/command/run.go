//go:build linux || darwin

package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const supported = true

// A program that is to end has graceTime between SIGTERM and SIGKILL, and what it
// leaves behind has killTime to go: in all less than the half second after which
// a pipeline leaves an action behind.
const (
	graceTime = 250 * time.Millisecond
	killTime  = 100 * time.Millisecond
)

// do runs a program to its end. What it leaves in its group is ended, or left alone:
// see leave. said is what it printed, where it was started.
func (c call) do(ctx context.Context) (said string, err error) {
	if err := unix.Faccessat(unix.AT_FDCWD, c.dir+"/.", unix.X_OK, unix.AT_EACCESS); err != nil {
		return "", fmt.Errorf("dir %s, where it is to stand: %w", c.dir, err)
	}
	out, err := newOutput(c.secrets)
	if err != nil {
		return "", err
	}
	err = c.guarded(ctx, out)
	return out.end(), err
}

// guarded runs a program in a group of its own.
func (c call) guarded(ctx context.Context, out *output) error {
	g, err := newGroup(c, out.read)
	if err != nil {
		return err
	}
	itself, err := c.grouped(ctx, g, out)
	switch {
	case itself && c.leaves:
		g.leave(out)
		return err
	case itself:
		if left := g.left(ctx); len(left) > 0 && c.warn != nil {
			c.warn(strings.Trim(fmt.Sprint(left), "[]"))
		}
	}
	g.end()
	return err
}

// grouped runs a program in a group. itself says that it ended, and was not cut off.
func (c call) grouped(ctx context.Context, g *group, out *output) (itself bool, err error) {
	if c.note != nil {
		err := c.note(g.Process)
		if err != nil && !c.leaves {
			return false, fmt.Errorf("noting its process group: %w", err)
		}
		if err != nil && c.unnoted != nil { // an application that stays paused is worse
			c.unnoted(err)
		}
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	p, err := g.start(c, out.write)
	if err != nil {
		return false, err
	}
	return p.wait(ctx)
}

// A program is one that was started.
type program struct {
	pid    int
	group  int
	input  *os.File
	fed    chan struct{}
	asks   chan struct{} // it wants to read from a terminal, or to change one
	over   chan struct{} // it has ended, and status and err say how
	status syscall.WaitStatus
	err    error
}

// start starts a program in a group. It reads what it is told and prints to out.
func (g *group) start(c call, out *os.File) (*program, error) {
	stdin, input, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	pid, err := syscall.ForkExec(c.path, c.argv, &syscall.ProcAttr{
		Dir: c.dir, Env: append(c.env, varGroup+"="+mark(g.Process)),
		Files: []uintptr{stdin.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pgid: g.Group},
	})
	if err != nil {
		_ = input.Close()
		return nil, cannotRun(c.path, err)
	}
	g.program = &program{
		pid: pid, group: g.Group, input: input,
		fed: make(chan struct{}), asks: make(chan struct{}, 1), over: make(chan struct{}),
	}
	if g.Leaves {
		g.tell()
	}
	go g.program.feed(c.input)
	go g.program.watch()
	return g.program, nil
}

// cannotRun says why a file that is there did not become a process.
func cannotRun(path string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("%s is there, and what must run it is not: look for the program that its first line names: %w", path, err)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%s is no program for this machine; a script begins with a line such as #!/bin/sh: %w", path, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s may not be executed by this user, or from where it lies: %w", path, err)
	case errors.Is(err, syscall.E2BIG):
		return fmt.Errorf("its arguments and variables are too long for the system: %w", err)
	}
	return fmt.Errorf("starting %s: %w", path, err)
}

// feed tells a program what it is told. One that does not read has its reasons.
func (p *program) feed(input []byte) {
	defer close(p.fed)
	_, _ = p.input.Write(input)
	_ = p.input.Close()
}

// unfeed ends feed, also where something that goes on holds the input.
func (p *program) unfeed() {
	_ = p.input.SetWriteDeadline(time.Now())
	<-p.fed
}

// watch waits for its end. A program that asks at a terminal from a group that is
// not in its foreground is stopped by the system, and would be for ever.
func (p *program) watch() {
	defer close(p.over)
	for {
		_, err := syscall.Wait4(p.pid, &p.status, syscall.WUNTRACED, nil)
		switch {
		case err == syscall.EINTR:
		case err == nil && p.status.Stopped():
			if s := p.status.StopSignal(); s == syscall.SIGTTIN || s == syscall.SIGTTOU {
				select {
				case p.asks <- struct{}{}:
				default:
				}
			}
		default:
			p.err = err
			return
		}
	}
}

// wait waits until a program has ended by itself, or has to.
func (p *program) wait(ctx context.Context) (itself bool, err error) {
	select {
	case <-p.over:
		return true, p.result()
	case <-p.asks:
		return false, errors.New("asks something at the terminal, where nobody may be at night: give it what it asks for by its options or a file")
	case <-ctx.Done():
	}
	select {
	case <-p.over:
		return true, p.result()
	default:
		return false, context.Cause(ctx)
	}
}

func (p *program) result() error {
	switch s := p.status; {
	case p.err != nil:
		return fmt.Errorf("nobody knows how it ended: %w", p.err)
	case s.Signaled():
		return fmt.Errorf("ended by signal %d, %s", s.Signal(), unix.SignalName(s.Signal()))
	case s.ExitStatus() != 0:
		return fmt.Errorf("exit status %d", s.ExitStatus())
	}
	return nil
}
