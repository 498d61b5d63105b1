package sftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pkg/sftp"

	"github.com/offsite-backup/offsite/core"
)

// The codes that servers answer with (draft-ietf-secsh-filexfer-02, 7, and -13, 9.1),
// but for those that the library has made errors of the standard library.
const (
	codeFailure = 4
	codeExists  = 11
)

var codes = map[uint32]core.ErrorKind{
	5:          core.ErrUnsupported, // bad message: what OpenSSH says of a name that is too long, too
	8:          core.ErrUnsupported, // operation unsupported
	10:         core.ErrNotFound,    // no such path
	codeExists: core.ErrExists,
	12:         core.ErrDenied,      // write protect
	14:         core.ErrNoSpace,     // no space on file system
	15:         core.ErrNoSpace,     // quota exceeded
	19:         core.ErrUnsupported, // not a directory
	20:         core.ErrUnsupported, // invalid file name
	21:         core.ErrUnsupported, // link loop
	22:         core.ErrDenied,      // cannot delete
	23:         core.ErrUnsupported, // invalid parameter
}

// Kind says what an error of the server means.
func (t *tree) Kind(err error) core.ErrorKind { return kindOf(err) }

func kindOf(err error) core.ErrorKind {
	if kind := core.KindOf(err); kind != "" {
		return kind
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.kind
		}
	}
	if status := (*sftp.StatusError)(nil); errors.As(err, &status) {
		if kind, ok := codes[status.Code]; ok {
			return kind
		}
	}
	return core.ErrUnavailable
}

// A kind is what one error means.
type kind struct {
	err  error
	kind core.ErrorKind
}

var kinds = []kind{
	{context.Canceled, core.ErrUnavailable},
	{context.DeadlineExceeded, core.ErrUnavailable},
	{fs.ErrNotExist, core.ErrNotFound},
	{fs.ErrExist, core.ErrExists},
	{fs.ErrPermission, core.ErrDenied},
	{errors.ErrUnsupported, core.ErrUnsupported},
}

// failure finds out what "Failure" means, which servers say to nearly everything: that
// the name taken is taken, if one is given, that there is no space, or that nothing may
// be written. It is called where an operation may wait for the server.
func (t *tree) failure(c *conn, err error, taken string) error {
	status := (*sftp.StatusError)(nil)
	if !errors.As(err, &status) || status.Code != codeFailure && status.Code != codeExists {
		return err
	}
	if taken != "" {
		if _, there := c.files.Lstat(taken); there == nil {
			return fmt.Errorf("%w: %w", fs.ErrExist, err)
		}
	}
	if _, ok := c.files.HasExtension("statvfs@openssh.com"); !ok {
		return err
	}
	place, unknown := c.files.StatVFS(t.dir)
	switch {
	case unknown != nil:
		return err
	case place.Flag&readOnly != 0:
		return core.Errorf(core.ErrDenied, "%s is mounted to be read: %w", t.dir, err)
	case place.Bavail*place.Frsize < full:
		return core.Errorf(core.ErrNoSpace, "%s has %d bytes left: %w", t.dir, place.Bavail*place.Frsize, err)
	case place.Files > 0 && place.Favail == 0:
		return core.Errorf(core.ErrNoSpace, "%s has no room for another file: %w", t.dir, err)
	}
	return err
}

const (
	readOnly = 1       // SSH_FXE_STATVFS_ST_RDONLY
	full     = 2 << 20 // bytes: what may have failed wrote no more at once
)
