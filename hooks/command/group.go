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
// does nothing while the action runs and this process lives. It is there
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

// guard is what the guard of a pre and an after does: it waits for this process to
// die, for the program to have the time that it may outlive it, and ends the group that
// it is in. What a program does to its own group does not end the guard, but for
// SIGKILL. It reads on what the program prints: where nobody reads any more, a program
// that prints blocks, or ends by SIGPIPE.
const guard = deaf + `
read -r line
` + reader + `
sleep "$1"
` + endGroup

// leavingGuard is what the guard of a post does first. It is told the program, and goes
// on with that in its arguments, where it is found by whoever is to end the group. It is
// told nothing where this process died before it began the program, or in the instant
// in which it did.
const leavingGuard = deaf + `
read -r program began
exec ` + shell + ` -c "$2" sh "$1" "$program" "$began"`

// watch is how it goes on. A line says that the program ended, and left something that
// is to go on and holds the output. Where this process dies instead, the program has
// the time that it may outlive it, and the group is ended when that is over and the
// program is not: what it leaves when it ends by itself is the application. So may be
// what runs where nobody knows the program.
const watch = deaf + `
` + running + `
read -r line
told=$?
` + reader + `
test $told -eq 0 && exit
test "$2" || { sleep "$1"; exit; }
left=$1
while running "$2" "$3"; do
	if test "$left" -le 0; then
		` + endGroup + `
	fi
	sleep 1
	left=$((left - 1))
done`

const (
	shell    = "/bin/sh"
	deaf     = `trap "" HUP INT QUIT TERM TSTP TTIN TTOU`
	endGroup = `kill -TERM 0; sleep 1; kill -KILL 0`
)

// guard is how a guard is started.
func (c call) guard() []string {
	seconds := strconv.Itoa(int(math.Ceil(max(0, c.outlive.Seconds()))))
	if c.leaves {
		return []string{"sh", "-c", leavingGuard, "sh", seconds, watch}
	}
	return []string{"sh", "-c", guard, "sh", seconds}
}

// watched is the program that a guard watches, and when that began: its last two
// arguments, empty where it does not know. ok says that it watches by now.
func watched(argv []string) (pid, began string, ok bool) {
	if len(argv) != 7 {
		return "", "", false
	}
	return argv[5], argv[6], true
}

// tell tells a guard what it is to watch. Nobody has asked yet how that ended, so its
// number is its own.
func (g *group) tell() {
	p, _ := look(g.program.pid) // of one that is not found the guard finds nothing either
	_, _ = fmt.Fprintln(g.life, g.program.pid, beginOf(p.began))
}

func newGroup(c call, output *os.File) (*group, error) {
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
	g := &group{life: life, Process: core.Process{Leaves: c.leaves}}
	if err == nil {
		err = conn.Control(func(fd uintptr) {
			g.Group, err = syscall.ForkExec(shell, c.guard(), &syscall.ProcAttr{
				Dir: "/", Env: pathOf(c.env), Files: []uintptr{stdin.Fd(), null.Fd(), null.Fd(), fd},
				Sys: &syscall.SysProcAttr{Setpgid: true},
			})
		})
	}
	if err != nil {
		_ = life.Close()
		return nil, fmt.Errorf("%s, which guards it, does not start: %w", shell, err)
	}
	first, err := look(g.Group)
	if err != nil {
		g.end()
		return nil, fmt.Errorf("when its process group began: %w", err)
	}
	g.Began = first.began
	return g, nil
}

// pathOf is what the guard needs of an environment: where cat and sleep are. It gets
// no secret.
func pathOf(env []string) []string {
	const usual = "/usr/bin:/bin"
	for _, v := range env {
		if strings.HasPrefix(v, "PATH=") {
			return []string{v + ":" + usual}
		}
	}
	return []string{"PATH=" + usual}
}

// leave ends the guard alone, after the program has ended by itself. What else is in
// the group goes on.
func (g *group) leave(out *output) {
	g.program.unfeed()
	if out.stop(); out.hand() {
		_, _ = g.life.WriteString("\n") // one that was killed needs no reader
		_ = syscall.Kill(g.Group, syscall.SIGCONT)
	} else {
		_ = syscall.Kill(g.Group, syscall.SIGKILL)
	}
	reap(g.Group)
	_ = g.life.Close()
}

// settleTime is how long what a program leaves behind may take to end with it, as
// what reads its output does.
const settleTime = 100 * time.Millisecond

// left is what goes on after the program has ended by itself.
func (g *group) left(ctx context.Context) (all []process) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	_ = poll(ctx, g.Process, func(r remains) (bool, error) {
		all = r.others()
		return len(all) == 0, nil
	})
	return all
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
		p.unfeed()
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
