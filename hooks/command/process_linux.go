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

// sessionOf is the end of what began makes.
func sessionOf(began string) string { return began[strings.LastIndexByte(began, '/')+1:] }

// began is when a process did: the boot, ticks since then, and its session, which a
// process that leads a group cannot leave.
func began(pid int) (string, error) {
	boot, err := bootID()
	if err != nil {
		return "", err
	}
	p, err := look(pid, boot)
	return p.began, err
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
		switch p, err := look(pid, boot); {
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

// look reads /proc/PID/stat, see proc_pid_stat(5).
func look(pid int, boot string) (process, error) {
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
