//go:build unix

package local

import (
	"errors"
	"fmt"
	"os"
	"path"
	"syscall"

	"github.com/offsite-backup/offsite/core"
)

// noBlock keeps a pipe that somebody puts in a file's place from holding the open
// for ever.
const noBlock = syscall.O_NONBLOCK

var kindsHere = []kind{{syscall.EDQUOT, core.ErrNoSpace}}

// orUnsupported finds out that a file system does not offer an operation at all:
// each says it in its own way. A right that is really missing shows again in what is
// tried next.
func orUnsupported(err error) error {
	for _, errno := range []error{syscall.EINVAL, syscall.EPERM, syscall.ENOSYS, syscall.ENOTSUP, syscall.EOPNOTSUPP} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
		}
	}
	return err
}

// syncDir syncs a directory. Some network file systems have no such thing.
func syncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(orUnsupported(err), errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// inDirs calls f with the open directories of two names and what they are called in
// those.
func inDirs(root *os.Root, from, to string, f func(fromDir int, from string, toDir int, to string) error) error {
	source, err := root.Open(path.Dir(from))
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := root.Open(path.Dir(to))
	if err != nil {
		return err
	}
	defer target.Close()
	err = f(int(source.Fd()), path.Base(from), int(target.Fd()), path.Base(to))
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}
