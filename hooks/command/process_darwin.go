package command

import (
	"fmt"
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

// began is when a process did, to the microsecond.
func began(pid int) (string, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return "", err
	}
	return processOf(*info).began, nil
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
