//go:build linux || darwin

package filetree

import (
	"errors"
	"syscall"
)

// gone says that no process has an id. One of another user, which may be hidden, is
// not gone.
func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
