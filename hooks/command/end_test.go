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
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

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
	m.Phase = core.Post
	switch role {
	case "post":
		return h.Post(ctx, m)
	case "short post":
		return h.Post(short{ctx}, m)
	}
	m.Phase = core.Pre
	return h.Pre(ctx, m)
}

// A short context says that it ends soon, and does not.
type short struct{ context.Context }

func (short) Deadline() (time.Time, bool) { return time.Now().Add(shortTime), true }

// shortTime is what a post has that outlives who began it.
const shortTime = 5 * time.Second

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

// waitEnded waits until a process has ended. Nobody may have asked how.
func waitEnded(t *testing.T, pid int) {
	t.Helper()
	waitFor(t, "the end of a process", func() bool { state := ps(pid, "stat="); return state == "" || state[0] == 'Z' })
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// watched waits until the guard watches the post, which is its last argument but one.
func (p *parent) watched() {
	p.t.Helper()
	waitFor(p.t, "the guard to hear of the post", func() bool {
		return regexp.MustCompile(` \d+ \d+ \S+\s*$`).MatchString(ps(p.Group, "args="))
	})
}

// ps is what the system says of a process, nothing where there is none.
func ps(pid int, what string) string {
	out, _ := exec.Command("ps", "-ww", "-o", what, "-p", strconv.Itoa(pid)).Output()
	return string(out)
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

// A post that hangs is ended when its time is over, by nobody else's doing.
func TestPostEndsWhenItsTimeIsOver(t *testing.T) {
	w := newWitness(t)
	p := newParent(t, "short post", sh(hangs["children that hide"], w.path))
	w.hear("ready")
	p.watched()
	p.kill()
	w.gone()
	waitEnded(t, p.Group)
}

// What a post started that has ended is the application, whenever the process that ran
// it died: it is not ended when the post's time would be over, nor by who pays for it,
// and may print.
func TestApplicationOutlivesAll(t *testing.T) {
	for _, dies := range []string{"while the post runs", "when the post has ended", "when the post was left"} {
		t.Run(dies, func(t *testing.T) {
			t.Parallel()
			w := newWitness(t)
			end, endPost := newSignal(t)
			path, give := newSignal(t)
			const script = `exec 9>"$1"; sh -c 'read -r x <"$2"; yes | head -c 300000 && echo alive >&9; read -r x <"$2"' sh "$@" &
echo $$ >&9; read -r x <"$3"; exit 0`
			p := newParent(t, "short post", sh(script, w.path, path, end))
			line, err := w.lines.ReadString('\n')
			post, err2 := strconv.Atoi(strings.TrimSpace(line))
			if err := errors.Join(err, err2); err != nil {
				t.Fatal(err)
			}
			p.watched()
			switch dies {
			case "while the post runs":
				p.kill()
				endPost()
				waitEnded(t, post)
			case "when the post has ended":
				if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				endPost()
				waitEnded(t, post)
				p.kill()
			default:
				endPost()
				if err := p.cmd.Wait(); err != nil {
					t.Fatal(err)
				}
			}
			p.end()
			waitEnded(t, p.Group)
			give()
			w.hear("alive")
			p.end()
			give()
			w.gone()
		})
	}
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
			waitEnded(t, p.Group)
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
