package sftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/pkg/sftp"

	"github.com/offsite-backup/offsite/core"
)

// Link makes a hard link, which of all that SFTP has is what surely replaces nothing.
func (t *tree) Link(ctx context.Context, from, to string) error {
	return t.on(ctx, "link", from, func(c *conn) error {
		if !t.hasLinks(c) {
			return errors.ErrUnsupported
		}
		if err := t.noLinks(c, to); err != nil {
			return err
		}
		err := c.files.Link(t.path(from), t.path(to))
		if err == nil {
			return nil
		}
		return t.notLinked(c, err, from, to)
	})
}

// notLinked finds out why a link failed: a file system without links says "Failure" or
// that it is denied, as it does to much else. Two scratch files show which it is.
func (t *tree) notLinked(c *conn, err error, from, to string) error {
	err = t.failure(c, err, t.path(to))
	if errors.Is(err, fs.ErrExist) || core.KindOf(err) != "" || !answered(err) {
		return err
	}
	if _, there := c.files.Lstat(t.path(from)); there != nil {
		return there
	}
	switch tried := t.tryLink(c, path.Dir(from)); {
	case tried == nil:
		return err
	case core.KindOf(tried) != "" || !answered(tried):
		return tried
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.linkless = true
	return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
}

// answered says whether an error is what the server said.
func answered(err error) bool {
	status := (*sftp.StatusError)(nil)
	return errors.As(err, &status) || errors.Is(err, fs.ErrPermission)
}

// tryLink links a scratch file to another name.
func (t *tree) tryLink(c *conn, dir string) error {
	token, err := t.token()
	if err != nil {
		return err
	}
	// Named like claims of filetree, which removes those that were left.
	from, to := t.path(dir)+"/link,"+token+"-1.claim", t.path(dir)+"/link,"+token+"-2.claim"
	f, err := c.files.OpenFile(from, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return core.Errorf(core.ErrUnavailable, "whether there are hard links cannot be tried: %w", err)
	}
	defer func() { _ = errors.Join(f.Close(), c.files.Remove(from), c.files.Remove(to)) }() // one may not be there
	return c.files.Link(from, to)
}

func (t *tree) hasLinks(c *conn) bool {
	_, ok := c.files.HasExtension("hardlink@openssh.com")
	t.mu.Lock()
	defer t.mu.Unlock()
	return ok && !t.linkless
}

// RenameNoReplace is not offered. What the protocol promises of a rename many servers do
// not keep, and those that look first do so in two steps (OpenSSH's, on a file system
// without links). A rename under a claim is sure everywhere.
func (t *tree) RenameNoReplace(context.Context, string, string) error {
	return errors.ErrUnsupported
}
