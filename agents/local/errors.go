package local

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/offsite-backup/offsite/core"
)

// Kind says what an error of the system means.
func (t tree) Kind(err error) core.ErrorKind {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.kind
		}
	}
	if !fromSystem(err) {
		return core.ErrDenied
	}
	return core.ErrUnavailable
}

// A kind is what one error means.
type kind struct {
	err  error
	kind core.ErrorKind
}

var kinds = append([]kind{
	{context.Canceled, core.ErrUnavailable},
	{context.DeadlineExceeded, core.ErrUnavailable},
	{fs.ErrClosed, core.ErrClosed},
	{fs.ErrNotExist, core.ErrNotFound},
	{fs.ErrExist, core.ErrExists},
	{fs.ErrPermission, core.ErrDenied},
	{syscall.EROFS, core.ErrDenied},
	{syscall.ENOSPC, core.ErrNoSpace},
	{syscall.ENAMETOOLONG, core.ErrInvalid},
	{syscall.ENOTDIR, core.ErrUnsupported},
	{syscall.ELOOP, core.ErrUnsupported},
	{syscall.EXDEV, core.ErrUnsupported},
	{syscall.EFBIG, core.ErrUnsupported},
	{errors.ErrUnsupported, core.ErrUnsupported},
}, kindsHere...)

// fromSystem tells the system's errors from those of os.Root, which has no name
// for its refusal to leave the directory.
func fromSystem(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno)
}
