package filetree

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// machine tells boots apart.
func machine() (string, error) { return unix.Sysctl("kern.bootsessionuuid") }

// began is when a process did.
func began(pid int) (string, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return "", err
	}
	at := info.Proc.P_starttime
	return fmt.Sprintf("%d.%06d", at.Sec, at.Usec), nil
}
