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
	codeFailure          = 4
	codeBadMessage       = 5
	codeNoConnection     = 6
	codeConnectionLost   = 7
	codeUnsupported      = 8
	codeNoPath           = 10
	codeExists           = 11
	codeWriteProtect     = 12
	codeNoMedia          = 13
	codeNoSpace          = 14
	codeQuota            = 15
	codeLockConflict     = 17
	codeNotADirectory    = 19
	codeInvalidName      = 20
	codeLinkLoop         = 21
	codeCannotDelete     = 22
	codeInvalidParameter = 23
)

var codes = map[uint32]core.ErrorKind{
	codeFailure:          core.ErrUnavailable,
	codeBadMessage:       core.ErrUnsupported, // what OpenSSH says of a name that is too long, too
	codeNoConnection:     core.ErrUnavailable,
	codeConnectionLost:   core.ErrUnavailable,
	codeUnsupported:      core.ErrUnsupported,
	codeNoPath:           core.ErrNotFound,
	codeExists:           core.ErrExists,
	codeWriteProtect:     core.ErrDenied,
	codeNoMedia:          core.ErrUnavailable,
	codeNoSpace:          core.ErrNoSpace,
	codeQuota:            core.ErrNoSpace,
	codeLockConflict:     core.ErrUnavailable,
	codeNotADirectory:    core.ErrUnsupported,
	codeInvalidName:      core.ErrUnsupported,
	codeLinkLoop:         core.ErrUnsupported,
	codeCannotDelete:     core.ErrDenied,
	codeInvalidParameter: core.ErrUnsupported,
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
