package command

import (
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	rest := " 34816 12 4194304 100 0 0 0 0 0 0 0 20 0 1 0 98765 4096 0 0\n"
	want := process{pid: 7, parent: 1, group: 12, name: "sh", began: "boot/98765/11"}
	named := func(name string) process {
		p := want
		p.name = name
		return p
	}
	dead := want
	dead.ended = true
	for stat, want := range map[string]process{
		"7 (sh) S 1 12 11" + rest:                  want,
		"7 (a b) R 9 9 (9) Z) R 1 12 11" + rest:    named("a b) R 9 9 (9) Z"),
		"7 (\n)) S 1 12 11" + rest:                 named("\n)"),
		"7 (sh) Z 1 12 11" + rest:                  dead,
		"7 (sh) S 1 12":                            {},
		"7 (sh) S 1 x 11" + rest:                   {},
		"":                                         {},
		"7 sh S 1 12 11 34816 12 4194304 100 0 0)": {},
	} {
		got, err := parseStat(7, "boot", stat)
		if (err == nil) != (want.pid != 0) || err == nil && got != want {
			t.Errorf("%q is %+v, %v", stat, got, err)
		}
	}
	if p, err := look(os.Getpid()); err != nil || p.parent != os.Getppid() || p.ended {
		t.Errorf("%+v, %v", p, err)
	}
}

// A number stands for a program as long as that is what began then, and has not ended.
func TestRunning(t *testing.T) {
	zombie := exec.CommandContext(t.Context(), "true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, zombie.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	dead, err := look(zombie.Process.Pid)
	if err != nil || !dead.ended {
		t.Fatalf("%+v, %v", dead, err)
	}
	self, err := look(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	moved := self
	moved.began = self.began[:len(self.began)-len(sessionOf(self.began))] + "1" // its session is another now
	for name, c := range map[string]struct {
		process
		runs bool
	}{
		"self":                {self, true},
		"in a session":        {moved, true},
		"zombie":              {dead, false},
		"number used again":   {process{pid: self.pid, began: "boot/1/1"}, false},
		"never looked at":     {process{pid: self.pid}, false},
		"number not used":     {process{pid: 1 << 30, began: self.began}, false},
		"number of the other": {process{pid: dead.pid, began: self.began}, false},
	} {
		pid, began := strconv.Itoa(c.pid), beginOf(c.began)
		asked := exec.CommandContext(t.Context(), shell, "-c", running+"\nrunning \"$1\" \"$2\"", "sh", pid, began).Run()
		over, err := endedSince(pid, began)
		if (asked == nil) != c.runs || over == c.runs || err != nil {
			t.Errorf("%s: runs %v, the guard says %v, End says it has ended %v, %v", name, c.runs, asked, over, err)
		}
	}
	_ = zombie.Wait()
}
