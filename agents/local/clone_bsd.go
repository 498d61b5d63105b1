//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package local

import (
	"errors"
	"os"
)

// clone is not known here: where two files could share blocks, they could share a
// link too.
func clone(_, _ *os.File) error { return errors.ErrUnsupported }
