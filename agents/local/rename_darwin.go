package local

import (
	"os"

	"golang.org/x/sys/unix"
)

func renameNoReplace(root *os.Root, from, to string) error {
	return inDirs(root, from, to, func(fromDir int, from string, toDir int, to string) error {
		return orUnsupported(unix.RenameatxNp(fromDir, from, toDir, to, unix.RENAME_EXCL))
	})
}
