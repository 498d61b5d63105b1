//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package core

import (
	"errors"
	"os"
	"syscall"
)

// lock takes an open file for this process, until it is closed. A file system
// that has no locks is used without.
func lock(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var locked error
	err = conn.Control(func(fd uintptr) { locked = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB) })
	if errors.Is(locked, syscall.EWOULDBLOCK) {
		return Errorf(ErrUnavailable, "another download to it is running")
	}
	return err
}
