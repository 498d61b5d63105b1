//go:build unix

package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
)

func TestLoadWhatOthersMayWrite(t *testing.T) {
	for mode, refused := range map[os.FileMode]bool{0o600: false, 0o644: false, 0o400: false, 0o444: false, 0o664: true, 0o620: true, 0o602: true, 0o666: true} {
		path := write(t, "offsite.yaml", mode, "agents: {d: {local: /b}}")
		_, err := kinds().Load(path, os.Geteuid())
		if (err != nil) != refused {
			t.Errorf("%04o: %v", mode, err)
		}
		want := fmt.Sprintf("%s: others than its owner may write it (mode %04o), and with it what runs here: `chmod go-w %s`", path, mode, path)
		if refused && (!errors.Is(err, core.ErrInvalid) || err.Error() != want) {
			t.Errorf("\n got %v\nwant %s", err, want)
		}
	}
}

// TestLoadOfAnotherUser: the file of another user is refused, that of root is not.
func TestLoadOfAnotherUser(t *testing.T) {
	path := write(t, "offsite.yaml", 0o644, "agents: {d: {local: /b}}")
	me := os.Geteuid()
	if me == 0 {
		if _, err := kinds().Load(path, 65534); err != nil {
			t.Errorf("the file of root: %v", err)
		}
		if err := os.Chown(path, 65533, -1); err != nil {
			t.Fatal(err)
		}
		me = 65533
	}
	if _, err := kinds().Load(path, me); err != nil {
		t.Errorf("my own: %v", err)
	}
	for _, uid := range []int{0, me + 1} {
		want := fmt.Sprintf("%s: belongs to the user %d, who may write what runs here as user %d: `chown` it", path, me, uid)
		if _, err := kinds().Load(path, uid); err == nil || !errors.Is(err, core.ErrInvalid) || err.Error() != want {
			t.Errorf("\n got %v\nwant %s", err, want)
		}
	}
}

func TestSecretThatOthersMayWrite(t *testing.T) {
	for _, mode := range []os.FileMode{0o620, 0o602, 0o666} {
		path := write(t, "secret", mode, "swordfish")
		want := fmt.Sprintf("offsite.yaml:2:10: agents.b.box.key: %s: others than its owner may write it (mode %04o): `chmod go-w` it", path, mode)
		if _, err := reveal(t.Context(), t, "{file: "+path+"}", config.Secrets{}); err == nil || err.Error() != want {
			t.Errorf("\n got %v\nwant %s", err, want)
		}
	}
}

// TestPipeIsNotWaitedFor: nobody writes into it.
func TestPipeIsNotWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := reveal(t.Context(), t, "{file: "+path+"}", config.Secrets{}); err == nil {
		t.Error("a secret from a pipe")
	}
	if _, err := kinds().Load(path, -1); err == nil {
		t.Error("a configuration from a pipe")
	}
}

// TestProgramLeavesNothing: what a program started ends with it, and does not hold
// up who waits for its output.
func TestProgramLeavesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		script  string
		timeout time.Duration
	}{
		"ends":  {`sleep 1000 & echo $! > "$0"; echo swordfish`, time.Minute},
		"hangs": {`sleep 1000 & echo $! > "$0"; wait`, 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			pids := filepath.Join(t.TempDir(), "pid")
			s := config.Secrets{Env: map[string]string{"PATH": os.Getenv("PATH")}, Timeout: test.timeout}
			if _, err := reveal(t.Context(), t, fmt.Sprintf("{command: [sh, -c, %q, %q]}", test.script, pids), s); err == nil {
				t.Fatal("a secret from a program that leaves something running")
			}
			text, err := os.ReadFile(pids)
			if err != nil {
				t.Fatal(err)
			}
			var pid int
			if _, err := fmt.Sscan(string(text), &pid); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(10 * time.Second); running(pid); {
				if time.Now().After(deadline) {
					t.Fatalf("%d is still running", pid)
				}
			}
		})
	}
}

// running says whether a process is there and no zombie, which nobody may be there
// to reap.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat("/proc/self/stat"); err == nil {
			return false
		}
		return syscall.Kill(pid, 0) == nil
	}
	for i := len(stat) - 1; i > 0; i-- {
		if stat[i-1] == ')' {
			return i+1 < len(stat) && stat[i+1] != 'Z'
		}
	}
	return true
}
