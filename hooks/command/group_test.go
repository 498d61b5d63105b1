//go:build linux || darwin

package command

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What was printed is there, also while a daemon holds the pipe open.
func TestOutputIsWhole(t *testing.T) {
	for size := 1; size < 400; size++ {
		o, err := newOutput(nil)
		if err != nil {
			t.Fatal(err)
		}
		held, err := syscall.Dup(int(o.write.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Repeat("x", size)
		if _, err := o.write.WriteString(text); err != nil {
			t.Error(err)
		}
		if got := o.end(); got != text {
			t.Errorf("%d bytes of %d", len(got), size)
		}
		_ = syscall.Close(held)
	}
}

// A program that is stopped hears that it is to end.
func TestStoppedProgramEndsItself(t *testing.T) {
	o, err := newOutput(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer o.end()
	g, err := newGroup(call{}, o.read)
	if err != nil {
		t.Fatal(err)
	}
	defer g.end()
	const script = `trap "exit 42" TERM; kill -TTIN $$; while :; do :; done`
	p, err := g.start(call{path: shell, argv: []string{"sh", "-c", script}, dir: "/"}, o.write)
	if err != nil {
		t.Fatal(err)
	}
	<-p.asks
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := terminate(ctx, g.Process); err != nil {
		t.Error(err)
	}
	<-p.over
	if p.status.ExitStatus() != 42 {
		t.Errorf("it ended with %v", p.result())
	}
}

// A guard that does not know its program, as of a process that died in the instant in
// which it began it, ends nothing. Whoever ends the group runs the post again.
func TestUnknownProgram(t *testing.T) {
	for name, c := range map[string]struct {
		outlive time.Duration
		end     bool
	}{"its time is over": {0, false}, "the group is ended": {time.Hour, true}} {
		t.Run(name, func(t *testing.T) {
			o, err := newOutput(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer o.end()
			g, err := newGroup(call{leaves: true, outlive: c.outlive}, o.read)
			if err != nil {
				t.Fatal(err)
			}
			g.Leaves = false // start tells nothing
			p, err := g.start(call{path: shell, argv: []string{"sh", "-c", "sleep 1000; :"}, dir: "/"}, o.write)
			if err != nil {
				t.Fatal(err)
			}
			g.Leaves = true
			_ = g.life.Close() // as when this process dies
			if c.end {
				err := End(t.Context(), g.Process)
				if <-p.over; err != nil {
					t.Error(err)
				}
				p.unfeed()
				reap(g.Group)
				return
			}
			reap(g.Group)
			if is, err := look(p.pid); err != nil || is.ended {
				t.Errorf("it is ended: %+v, %v", is, err)
			}
			g.end()
		})
	}
}
