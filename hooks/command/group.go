//go:build linux || darwin

package command

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A group is the process group of one action. Its first process is a guard, which
// does nothing while this process lives. It is there
//
//   - so that the group can be noted before anything runs in it: the program
//     itself is not even forked by then;
//   - to end the group when this process dies: what nobody waits for any more must
//     not hold a database;
//   - so that the number of the group, which is its own, stands for nothing else
//     until this process, its parent, has asked how it ended.
type group struct {
	core.Process
	life    *os.File // the guard's standard input, which ends with this process
	program *program // nil before it was started
}

// guard is what the guard does: it waits for this process to die, for the program
// to have the time that it may outlive it, and ends the group that it is in. What
// a program does to its own group does not end the guard, but for SIGKILL. It holds
// the output of the program open: one that outlives this process may print.
const guard = `trap "" HUP INT QUIT TERM TSTP TTIN TTOU
read -r line
sleep "$1"
kill -TERM 0
sleep 1
kill -KILL 0
`

const shell = "/bin/sh"

func newGroup(env []string, outlive time.Duration, output *os.File) (*group, error) {
	stdin, life, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		_ = life.Close()
		return nil, err
	}
	defer null.Close()
	// output.Fd would make its reader block.
	conn, err := output.SyscallConn()
	g := &group{life: life}
	if err == nil {
		err = conn.Control(func(fd uintptr) {
			seconds := strconv.Itoa(int(math.Ceil(max(0, outlive.Seconds()))))
			g.Group, err = syscall.ForkExec(shell, []string{"sh", "-c", guard, "sh", seconds}, &syscall.ProcAttr{
				Dir: "/", Env: pathOf(env), Files: []uintptr{stdin.Fd(), null.Fd(), null.Fd(), fd},
				Sys: &syscall.SysProcAttr{Setpgid: true},
			})
		})
	}
	if err != nil {
		_ = life.Close()
		return nil, fmt.Errorf("%s, which guards it, does not start: %w", shell, err)
	}
	if g.Began, err = began(g.Group); err != nil {
		g.end()
		return nil, fmt.Errorf("when its process group began: %w", err)
	}
	return g, nil
}

// pathOf is what the guard needs of an environment. It gets no secret.
func pathOf(env []string) []string {
	for _, v := range env {
		if strings.HasPrefix(v, "PATH=") {
			return []string{v}
		}
	}
	return []string{"PATH=/usr/bin:/bin"}
}

// end ends what is left of a group, and returns when its program has ended.
func (g *group) end() {
	if p := g.program; p != nil {
		limit, stop := context.WithTimeout(context.Background(), graceTime+killTime)
		defer stop()
		grace, cancel := context.WithTimeout(limit, graceTime)
		defer cancel()
		p.signal(syscall.SIGTERM)
		_ = terminate(grace, g.Process)
		select {
		case <-p.over:
		case <-grace.Done():
		}
		p.signal(syscall.SIGKILL)
		_ = kill(limit, g.Process)
		<-p.over
		_ = p.input.SetWriteDeadline(time.Now())
		<-p.fed
	}
	// Also where nobody could look what is left.
	_ = syscall.Kill(-g.Group, syscall.SIGKILL)
	reap(g.Group)
	_ = g.life.Close()
}

// signal reaches a program that left its group, as timeout(1) does, with the group
// that it made.
func (p *program) signal(s syscall.Signal) {
	select {
	case <-p.over:
		return
	default:
	}
	own, err := syscall.Getpgid(p.pid)
	switch {
	case err != nil || own == p.group:
	case own == p.pid:
		_ = syscall.Kill(-own, s)
	default:
		_ = syscall.Kill(p.pid, s)
	}
}

// reap asks how a child ended, so that its number is free.
func reap(pid int) {
	for {
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != syscall.EINTR {
			return
		}
	}
}
