package local

import (
	"errors"
	"fmt"
	"io"
	"math"

	"golang.org/x/sys/unix"
)

// tryLock locks the last byte that a file could have, for this open file alone. A
// lock of the whole file would, on SMB, keep others from reading it.
func tryLock(fd uintptr) (held bool, err error) {
	err = unix.FcntlFlock(fd, unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: math.MaxInt64 - 1, Len: 1})
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		return false, nil
	case errors.Is(err, unix.ENOLCK):
		return false, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err == nil, orUnsupported(err)
}
