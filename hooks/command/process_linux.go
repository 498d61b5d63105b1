package command

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/offsite-backup/offsite/core"
)

// mark is the value of OFFSITE_GROUP, by which the processes of a group are known
// when the first one is gone.
func mark(p core.Process) string { return strconv.Itoa(p.Group) + "/" + p.Began }

// marked says whether a process has the mark of a group in its environment.
func (p process) marked(of core.Process) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
	return err == nil && bytes.Contains(append([]byte{0}, env...), []byte("\x00"+varGroup+"="+mark(of)+"\x00"))
}

// strayed says whether it made a group of its own. One with a session of its own
// wants to go on.
func (p process) strayed(from core.Process) bool {
	return sessionOf(p.began) == sessionOf(from.Began) && p.marked(from)
}

// sessionOf is the end of when a process began.
func sessionOf(began string) string { return began[strings.LastIndexByte(began, '/')+1:] }

// beginOf is that without the session, which a program that does not lead a group may
// leave.
func beginOf(began string) string { return strings.TrimSuffix(began, "/"+sessionOf(began)) }

// running is a function of sh: whether a process that began then has not ended. Its
// state is the first word behind the name of its program, and the time of its start the
// 20th. Where nobody asks how it ended it stays a zombie.
const running = `running() {
	stat=$(cat "/proc/$1/stat") || return
	set -- "${2#*/}" ${stat##*) }
	case $2 in [ZXx]) return 1 ;; esac
	test "$1" = "${21}"
}`

// reader is a command of sh that reads what is printed. It opens the pipe anew: a read
// of that which this process has does not wait, see output.hand.
const reader = "cat </proc/self/fd/3 3<&- &"

// arguments are those of a process, with the name of its program; none of a zombie.
func arguments(pid int) ([]string, error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00"), err
}

// processes are all that there are.
func processes(int) (all []process, err error) {
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		// One may end meanwhile, and hidepid of proc(5) hides those of other users.
		switch p, err := lookSince(boot, pid); {
		case err == nil:
			all = append(all, p)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) && !errors.Is(err, fs.ErrPermission):
			return nil, err
		}
	}
	return all, err
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
}

// look is a process. It began at the boot, ticks since then, and in its session, which
// a process that leads a group cannot leave.
func look(pid int) (process, error) {
	boot, err := bootID()
	if err != nil {
		return process{}, err
	}
	return lookSince(boot, pid)
}

// lookSince reads /proc/PID/stat, see proc_pid_stat(5).
func lookSince(boot string, pid int) (process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	return parseStat(pid, boot, string(stat))
}

// parseStat parses the one line of it. The name of a program stands in brackets, and
// may hold any byte.
func parseStat(pid int, boot, stat string) (p process, err error) {
	end := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 20 {
		return p, fmt.Errorf("/proc/%d/stat is not understood: %q", pid, stat)
	}
	_, name, _ := strings.Cut(stat[:max(0, end)], "(")
	p = process{pid: pid, name: name, ended: fields[0] == "Z" || fields[0] == "X"}
	session := 0
	for i, to := range []*int{&p.parent, &p.group, &session} {
		if *to, err = strconv.Atoi(fields[1+i]); err != nil {
			return p, fmt.Errorf("/proc/%d/stat is not understood: %w", pid, err)
		}
	}
	p.began = fmt.Sprintf("%s/%s/%d", boot, fields[19], session)
	return p, nil
}
