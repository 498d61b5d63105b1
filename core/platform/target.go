package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gofrs/flock"

	"github.com/offsite-backup/offsite/core"
)

// A target is the directory that a restore fills.
type target struct {
	dest string
	dir  string       // what is filled: dest, or the partial one beside it
	lock *flock.Flock // on a file beside the partial one; nil where dest itself is filled
	root *os.Root
}

func newTarget(dest string, id core.ID, overwrite bool) (_ *target, err error) {
	dest, err = filepath.Abs(dest)
	if err != nil {
		return nil, err
	}
	there, err := usable(dest, overwrite)
	if err != nil {
		return nil, err
	}
	t := &target{dest: dest, dir: dest}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.unlock())
		}
	}()
	if !there || !overwrite {
		t.dir = fmt.Sprintf("%s.partial-%s", dest, id)
		if t.lock, err = lockFile(t.dir + ".lock"); err != nil {
			return nil, err
		}
		if err := os.RemoveAll(t.dir); err != nil { // of a restore that was killed
			return nil, err
		}
		if err := os.Mkdir(t.dir, 0o700); err != nil {
			return nil, err
		}
	}
	t.root, err = os.OpenRoot(t.dir)
	return t, err
}

// lockFile makes a file and locks it, or answers ErrUnavailable. A file system
// that has no locks is used without.
func lockFile(path string) (*flock.Flock, error) {
	for {
		lock := flock.New(path, flock.SetPermissions(0o600))
		ok, err := lock.TryLock()
		if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.ENOLCK) {
			return lock, nil
		}
		if err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		if !ok {
			return nil, errors.Join(core.Errorf(core.ErrUnavailable, "another restore fills %s: wait until it has ended", strings.TrimSuffix(path, ".lock")), lock.Close())
		}
		mine, err := lock.Stat()
		if err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		if now, err := os.Lstat(path); err == nil && os.SameFile(mine, now) {
			return lock, nil
		}
		// The one who had it has removed it just now.
		if err := lock.Close(); err != nil {
			return nil, err
		}
	}
}

// unlock removes the lock's file while it is held, so that nobody locks a file
// that is then removed. Where an open file cannot be removed it is closed first.
func (t *target) unlock() error {
	if t.lock == nil {
		return nil
	}
	removed := os.Remove(t.lock.Path())
	err := t.lock.Close()
	if removed != nil {
		_ = os.Remove(t.lock.Path())
	}
	t.lock = nil
	return err
}

// usable says whether dest is there, and that it may be restored to.
func usable(dest string, overwrite bool) (there bool, err error) {
	if _, err := os.Stat(filepath.Dir(dest)); err != nil {
		return false, fmt.Errorf("the folder to restore into must exist: %w", err)
	}
	entries, err := os.ReadDir(dest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(dest); err == nil {
			return false, core.Errorf(core.ErrExists, "%s is a link that leads nowhere", dest)
		}
		return false, nil
	case err != nil:
		return false, err
	case len(entries) > 0 && !overwrite:
		return true, core.Errorf(core.ErrExists, "%s is not empty: restore to a new folder, or say --overwrite", dest)
	}
	return true, nil
}

// publish puts a filled directory on disk and gives it its name.
func (t *target) publish() (err error) {
	defer func() { err = errors.Join(err, t.unlock()) }()
	if err := errors.Join(syncAll(t.root), t.root.Close()); err != nil {
		return fmt.Errorf("what was restored is in %s: %w", t.dir, err)
	}
	if t.dir == t.dest {
		return nil
	}
	if err := os.Remove(t.dest); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("what was restored is in %s: %w", t.dir, err)
	}
	if err := os.Rename(t.dir, t.dest); err != nil {
		return fmt.Errorf("what was restored is in %s: %w", t.dir, err)
	}
	return syncDir(filepath.Dir(t.dest))
}

// discard removes what a failed restore left. What it was to overwrite stays.
func (t *target) discard() error {
	err := t.root.Close()
	if t.dir != t.dest {
		err = errors.Join(err, os.RemoveAll(t.dir))
	}
	return errors.Join(err, t.unlock())
}
