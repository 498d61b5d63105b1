//go:build unix

package config

import (
	"io/fs"
	"os/exec"
	"syscall"
)

const (
	noWait     = syscall.O_NONBLOCK // opening a FIFO waits for a writer otherwise
	ownersOnly = fs.FileMode(0o777) // modes mean something here
)

// ownerOf is the user whose file it is.
func ownerOf(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return 0
}

// alone gives a program a process group of its own, so that what it starts ends
// with it.
func alone(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
