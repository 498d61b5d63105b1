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
// that it is denied. A right that is really missing shows again in what is tried next.
func (t *tree) notLinked(c *conn, err error, from, to string) error {
	err = t.failure(c, err, t.path(to))
	status := (*sftp.StatusError)(nil)
	if errors.Is(err, fs.ErrExist) || core.KindOf(err) != "" || !errors.As(err, &status) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if _, there := c.files.Lstat(t.path(from)); there != nil {
		return there
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.links = no
	return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
}

func (t *tree) hasLinks(c *conn) bool {
	_, ok := c.files.HasExtension("hardlink@openssh.com")
	t.mu.Lock()
	defer t.mu.Unlock()
	return ok && t.links != no
}

// RenameNoReplace is the server's rename, where there are no hard links and it was
// found to replace nothing. Some servers' does, whatever the protocol says.
func (t *tree) RenameNoReplace(ctx context.Context, from, to string) error {
	return t.on(ctx, "rename", from, func(c *conn) error {
		if t.hasLinks(c) {
			return errors.ErrUnsupported
		}
		keeps, err := t.renameKeeps(c, path.Dir(from))
		if err != nil {
			return err
		}
		if !keeps {
			return errors.ErrUnsupported
		}
		if err := t.noLinks(c, to); err != nil {
			return err
		}
		return t.failure(c, c.files.Rename(t.path(from), t.path(to)), t.path(to))
	})
}

// renameKeeps says whether a rename replaces nothing, which is tried once with two
// scratch files.
func (t *tree) renameKeeps(c *conn, dir string) (bool, error) {
	t.mu.Lock()
	known := t.keeps
	t.mu.Unlock()
	if known != unknown {
		return known == yes, nil
	}
	found, err := t.tryRename(c, dir)
	if err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keeps = found
	return found == yes, nil
}

func (t *tree) tryRename(c *conn, dir string) (finding, error) {
	token, err := t.token()
	if err != nil {
		return unknown, err
	}
	// Named like claims of filetree, which removes those that were left.
	from, to := t.path(dir)+"/rename,"+token+"-1.claim", t.path(dir)+"/rename,"+token+"-2.claim"
	defer func() { _ = errors.Join(c.files.Remove(from), c.files.Remove(to)) }() // one may be gone
	for _, name := range []string{from, to} {
		f, err := c.files.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return unknown, err
		}
	}
	renamed := c.files.Rename(from, to)
	if renamed == nil {
		return no, nil
	}
	// An error that is none of the server's says nothing.
	for _, name := range []string{from, to} {
		if _, err := c.files.Lstat(name); err != nil {
			return unknown, errors.Join(renamed, err)
		}
	}
	return yes, nil
}
