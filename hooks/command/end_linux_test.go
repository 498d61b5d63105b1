package command_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/hooks/command"
)

// What hangs with the help of programs that other systems do not have.
var hangsOnLinux = map[string]string{
	"own group":   `exec 9>"$1"; echo ready >&9; exec timeout 1000 sleep 1000`,
	"own session": `exec 9>"$1"; echo ready >&9; exec setsid sh -c "sleep 1000; :"`,
}

func TestEndOfItsTimeOnLinux(t *testing.T) { testEndOfItsTime(t, hangsOnLinux) }

// What left the group of a program without a session of its own ends with it.
func TestLeftBehindInItsOwnGroup(t *testing.T) {
	w := newWitness(t)
	const script = `exec 9>"$1"; timeout 1000 sleep 1000 </dev/null >/dev/null 2>&1 &
while test "$(ps -o pgid= -p $!)" -ne $!; do :; done`
	if err := hook(t, command.Options{Pre: sh(script, w.path)}).Pre(t.Context(), pre); err != nil {
		t.Error(err)
	}
	w.gone()
}

// A daemon with a session of its own stays, and is not waited for even where it
// holds the output.
func TestDaemon(t *testing.T) {
	w := newWitness(t)
	path, give := newSignal(t)
	const script = `setsid --fork sh -c 'exec 9>"$1"; read -r x <"$2"; echo alive >&9' sh "$@"
echo started; exit 1`
	err := hook(t, command.Options{Pre: sh(script, w.path, path)}).Pre(t.Context(), pre)
	if err == nil || err.Error() != "sh: exit status 1; it printed:\n    started" {
		t.Error(err)
	}
	give()
	w.hear("alive")
	w.gone()
}

// Without its guard a group is known by what its processes carry, and so is a
// process that left it.
func TestEndWithoutGuard(t *testing.T) {
	for name, script := range map[string]string{
		"group":           hangs["children that hide"],
		"own group":       hangsOnLinux["own group"],
		"child's group":   `exec 9>"$1"; echo ready >&9; timeout 1000 sleep 1000; sleep 1000`,
		"no variables":    `exec 9>"$1"; echo ready >&9; env -i /bin/sleep 1000; sleep 1000`,
		"ignores SIGTERM": hangs["ignores SIGTERM"],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWitness(t)
			p := newParent(t, "pre", sh(script, w.path))
			w.hear("ready")
			if err := syscall.Kill(p.Group, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			p.kill()
			p.end()
			w.gone()
		})
	}
}

// A group that has the number again, and a daemon that carries the mark, are left
// alone.
func TestEndLeavesAlone(t *testing.T) {
	path, give := newSignal(t)
	w := newWitness(t)
	other := exec.CommandContext(t.Context(), "sh", sh(`exec 9>"$1"; echo ready >&9; read -r x <"$2"; echo alive >&9`, w.path, path)[1:]...)
	other.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	w.hear("ready")
	noted := core.Process{Group: other.Process.Pid, Began: "boot/1/1"}
	if err := command.End(t.Context(), noted); err != nil {
		t.Error(err)
	}
	give()
	w.hear("alive")
	if err := other.Wait(); err != nil {
		t.Error(err)
	}

	w = newWitness(t)
	p := newParent(t, "post", sh(`setsid sh -c 'exec 9>"$1"; echo ready >&9; read -r x <"$2"; echo alive >&9' sh "$@" & sleep 1000`, w.path, path))
	w.hear("ready")
	p.kill()
	p.end()
	give()
	w.hear("alive")
	w.gone()
}

// Who may not end a group is told so.
func TestEndDenied(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	w := newWitness(t)
	p := newParent(t, "post", sh(hangs["sleeps"], w.path))
	w.hear("ready")
	p.kill()
	denied := make(chan error)
	go func() {
		runtime.LockOSThread() // which ends with this goroutine
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			denied <- errno
			return
		}
		denied <- command.End(t.Context(), p.Process)
	}()
	if err := <-denied; !errors.Is(err, core.ErrDenied) {
		t.Error(err)
	}
	p.end()
	w.gone()
}

// A program that asks at the terminal of who runs it fails at once.
func TestTerminal(t *testing.T) {
	terminal := newTerminal(t)
	for name, script := range map[string]string{
		"reads":          `read -r x </dev/tty`,
		"turns echo off": `stty -echo </dev/tty`,
		"child":          `sh -c 'read -r x </dev/tty'; echo never`,
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), self(t), sh(script)...)
			cmd.Env = append(os.Environ(), childVar+"=pre")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
			cmd.ExtraFiles = []*os.File{terminal()}
			var said strings.Builder
			cmd.Stderr = &said
			err := cmd.Run()
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || !strings.HasPrefix(said.String(), "sh: asks something at the terminal") {
				t.Errorf("%v: %s", err, &said)
			}
		})
	}
}

// newTerminal makes terminals that nobody sits at: see pts(4).
func newTerminal(t *testing.T) func() *os.File {
	return func() *os.File {
		master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { master.Close() })
		conn, err := master.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var slave uintptr
		var errno syscall.Errno
		_ = conn.Control(func(fd uintptr) {
			unlock := int32(0)
			if _, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCSPTLCK, uintptr(unsafe.Pointer(&unlock))); errno == 0 {
				slave, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, tiocgptpeer, syscall.O_RDWR|syscall.O_NOCTTY)
			}
		})
		if errno != 0 {
			t.Fatal(errno)
		}
		f := os.NewFile(slave, "pts")
		t.Cleanup(func() { f.Close() })
		return f
	}
}

// tiocgptpeer opens the other end of a terminal; see ioctl_tty(2).
const tiocgptpeer = 0x5441

// No action leaves a file or a process of this one open.
func TestNothingIsLeft(t *testing.T) {
	count := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	h := hook(t, command.Options{Pre: []string{"true"}, Post: []string{"/dev/null"}})
	if err := h.Pre(t.Context(), pre); err != nil { // opens what Go keeps
		t.Fatal(err)
	}
	before := count()
	for range 10 {
		if h.Pre(t.Context(), pre) != nil || h.Post(t.Context(), pre) == nil {
			t.Error("not as it should be")
		}
	}
	if after := count(); after != before {
		t.Errorf("%d files are open, before %d", after, before)
	}
	if children, err := os.ReadFile("/proc/thread-self/children"); err == nil && len(children) > 0 {
		t.Errorf("children are left: %s", children)
	}
}
