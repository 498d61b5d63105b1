package local

import (
	"errors"

	"golang.org/x/sys/windows"
)

// tryLock locks the last byte that a file could have: nobody may read or write what
// is locked.
func tryLock(fd uintptr) (held bool, err error) {
	last := &windows.Overlapped{Offset: 1<<32 - 2, OffsetHigh: 1<<31 - 1}
	err = windows.LockFileEx(windows.Handle(fd), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, last)
	switch {
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION):
		return false, nil
	case errors.Is(err, windows.ERROR_NOT_SUPPORTED), errors.Is(err, windows.ERROR_INVALID_FUNCTION):
		return false, errors.ErrUnsupported
	}
	return err == nil, err
}
