//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package local

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// tryLock locks an open file.
func tryLock(fd uintptr) (held bool, err error) {
	err = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	case errors.Is(err, unix.ENOLCK):
		return false, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err == nil, orUnsupported(err)
}
