package command

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/offsite-backup/offsite/core"
)

// zombie is SZOMB of sys/proc.h.
const zombie = 5

func mark(p core.Process) string { return strconv.Itoa(p.Group) + "/" + p.Began }

// marked is never known here: what a program's environment is, the system tells its
// user alone, and not of every program.
func (process) marked(core.Process) bool { return false }

func (process) strayed(core.Process) bool { return false }

// beginOf is the same.
func beginOf(began string) string { return began }

// running is a function of sh: whether a process has not ended. It is asked every
// second, and a number is not used again as fast.
const running = `running() {
	case $(ps -o stat= -p "$1") in "" | Z*) return 1 ;; esac
}`

// reader is a command of sh that reads what is printed. A read of a pipe that this
// process had may not wait.
const reader = "until cat <&3; do sleep 1; done &"

// arguments are those of a process, with the name of its program; see procargs2 of
// sysctl(3).
func arguments(pid int) ([]string, error) {
	raw, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil {
		return nil, notThere(pid, err)
	}
	return parseArguments(raw), nil
}

// notThere is what the system has other words for.
func notThere(pid int, err error) error {
	return fmt.Errorf("process %d: %w: %w", pid, fs.ErrNotExist, err)
}

// look is a process. It began to the microsecond.
func look(pid int) (process, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return process{}, notThere(pid, err)
	}
	return processOf(*info), nil
}

// processes are those of a group.
func processes(group int) (all []process, err error) {
	infos, err := unix.SysctlKinfoProcSlice("kern.proc.pgrp", group)
	for _, info := range infos {
		all = append(all, processOf(info))
	}
	return all, err
}

func processOf(info unix.KinfoProc) process {
	at := info.Proc.P_starttime
	return process{
		pid: int(info.Proc.P_pid), parent: int(info.Eproc.Ppid), group: int(info.Eproc.Pgid),
		name:  unix.ByteSliceToString(info.Proc.P_comm[:]),
		ended: info.Proc.P_stat == zombie, began: fmt.Sprintf("%d.%06d", at.Sec, at.Usec),
	}
}

// parseArguments takes apart what is their number, the path of the program, zeros, and
// each of them with a zero at its end.
func parseArguments(raw []byte) (argv []string) {
	if len(raw) < 4 {
		return nil
	}
	n := binary.NativeEndian.Uint32(raw)
	_, rest, _ := bytes.Cut(raw[4:], []byte{0})
	rest = bytes.TrimLeft(rest, "\x00")
	for ; n > 0 && len(rest) > 0; n-- {
		var arg []byte
		arg, rest, _ = bytes.Cut(rest, []byte{0})
		argv = append(argv, string(arg))
	}
	return argv
}
