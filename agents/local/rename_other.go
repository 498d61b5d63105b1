//go:build !linux && !darwin

package local

import (
	"errors"
	"os"
)

// renameNoReplace is not known here; a hard link does the same.
func renameNoReplace(*os.Root, string, string) error { return errors.ErrUnsupported }
