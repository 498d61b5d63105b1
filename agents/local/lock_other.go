//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly && !windows

package local

import "errors"

// tryLock is not known here.
func tryLock(uintptr) (bool, error) { return false, errors.ErrUnsupported }
