//go:build linux || darwin

package command_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/hooks/command"
)

// play runs a hook in a process that is to be killed, and tells of the group.
func play(ctx context.Context, role string) error {
	h, err := command.Kind{Env: []string{"PATH=" + os.Getenv("PATH")}}.Hook("h", &command.Options{Pre: os.Args[1:], Post: os.Args[1:]}, nil)
	if err != nil {
		return err
	}
	m := core.Moment{Phase: core.Pre, Runs: func(p core.Process) error {
		if err := json.NewEncoder(os.Stdout).Encode(p); err != nil || role != "die" {
			return err
		}
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}}
	if role == "post" {
		m.Phase = core.Post
		return h.Post(ctx, m)
	}
	return h.Pre(ctx, m)
}

// A parent is a process that runs a hook.
type parent struct {
	t   *testing.T
	cmd *exec.Cmd
	core.Process
}

func newParent(t *testing.T, role string, argv []string) *parent {
	t.Helper()
	p := &parent{t: t, cmd: exec.CommandContext(t.Context(), self(t), argv...)}
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), childVar+"="+role), os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err == nil {
		err = json.NewDecoder(out).Decode(&p.Process)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-p.Group, syscall.SIGKILL) })
	return p
}

func (p *parent) kill() {
	p.t.Helper()
	_ = p.cmd.Process.Kill()
	if err := p.cmd.Wait(); p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		p.t.Fatalf("it was to be killed: %v", err)
	}
}

func (p *parent) end() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for range 2 { // once more there is nothing
		if err := command.End(ctx, p.Process); err != nil {
			p.t.Error(err)
		}
	}
}

// A pre does not outlive the process that began it, without anybody's help.
func TestPreEndsWithItsParent(t *testing.T) {
	for name, script := range map[string]string{"sleeps": hangs["sleeps"], "ignores SIGTERM": hangs["ignores SIGTERM"], "children": hangs["children"]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWitness(t)
			p := newParent(t, "pre", sh(script, w.path))
			w.hear("ready")
			p.kill()
			w.gone()
		})
	}
}

// A post goes on: it prints, and ends, and is not there any more.
func TestPostOutlivesItsParent(t *testing.T) {
	w := newWitness(t)
	path, give := newSignal(t)
	p := newParent(t, "post", sh(`exec 9>"$1"; echo ready >&9; read -r x <"$2"; echo printed && echo alive >&9`, w.path, path))
	w.hear("ready")
	p.kill()
	give()
	w.hear("alive")
	w.gone()
	p.end()
}

func TestEnd(t *testing.T) {
	for name, script := range hangs {
		if name == "reads what is told" {
			continue // it ends with its input
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWitness(t)
			p := newParent(t, "post", sh(script, w.path))
			w.hear("ready")
			p.kill()
			p.end()
			w.gone()
			// Whoever has it now as a child may not have asked how it ended.
			if state, _ := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(p.Group)).Output(); len(state) > 0 && state[0] != 'Z' {
				t.Errorf("its first process is in state %s", state)
			}
		})
	}
}

// Killed at any moment, nothing runs that End does not find.
func TestKilledWhileNoting(t *testing.T) {
	for _, role := range []string{"die", "pre", "post"} {
		for i := range 10 {
			t.Run(fmt.Sprint(role, i), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "x")
				w := newWitness(t)
				p := newParent(t, role, sh(`exec 9>"$2"; echo ran >"$1"; sleep 1000`, path, w.path))
				p.kill()
				p.end()
				w.gone()
				if _, err := os.Stat(path); err == nil && role == "die" {
					t.Error("it ran before it was noted")
				}
			})
		}
	}
}

// What is not known to be of the group is left alone.
func TestEndOfOthers(t *testing.T) {
	w := newWitness(t)
	path, give := newSignal(t)
	p := newParent(t, "pre", sh(`exec 9>"$1"; echo ready >&9; read -r x <"$2"; echo alive >&9`, w.path, path))
	w.hear("ready")
	was := p.Process
	p.Began += "1"
	p.end()
	give()
	w.hear("alive")
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
	w.gone()
	p.Process = was
	p.end()
	for _, none := range []core.Process{{}, {Group: 1, Began: was.Began}, {Group: -1, Began: was.Began}, {Group: was.Group}} {
		if err := command.End(t.Context(), none); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%+v: %v", none, err)
		}
	}
}

func TestEndGivesUp(t *testing.T) {
	w := newWitness(t)
	p := newParent(t, "post", sh(hangs["ignores SIGTERM"], w.path))
	w.hear("ready")
	p.kill()
	why := errors.New("word")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := command.End(ctx, p.Process); !errors.Is(err, why) {
		t.Error(err)
	}
	p.end()
	w.gone()
}
