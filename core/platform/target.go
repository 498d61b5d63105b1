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
	dir  string       // what is filled, beside dest
	lock *flock.Flock // on a file beside dir
	root *os.Root     // dir
}

func newTarget(dest string, id core.ID, overwrite bool) (_ *target, err error) {
	dest, err = filepath.Abs(dest)
	if err != nil {
		return nil, err
	}
	if err := usable(dest, overwrite); err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(dest); err == nil {
		dest = real // what is moved there must lie beside it
	}
	t := &target{dest: dest, dir: fmt.Sprintf("%s.partial-%s", dest, id)}
	if t.lock, err = lockFile(t.dir + ".lock"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.unlock())
		}
	}()
	if err := os.RemoveAll(t.dir); err != nil { // of a restore that was killed
		return nil, err
	}
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return nil, err
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
	removed := os.Remove(t.lock.Path())
	err := t.lock.Close()
	if removed != nil {
		_ = os.Remove(t.lock.Path())
	}
	return err
}

// usable says whether dest may be restored to.
func usable(dest string, overwrite bool) error {
	if _, err := os.Stat(filepath.Dir(dest)); err != nil {
		return fmt.Errorf("the folder in which %s is to be must exist: %w", dest, err)
	}
	entries, err := os.ReadDir(dest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(dest); err == nil {
			return core.Errorf(core.ErrExists, "%s is a link that leads nowhere", dest)
		}
		return nil
	case err == nil && len(entries) > 0 && !overwrite:
		return core.Errorf(core.ErrExists, "%s is not empty: restore to a new folder, or say --overwrite", dest)
	}
	return err
}

// publish puts a filled directory on disk and gives it its name, or moves what is
// in it to what is there.
func (t *target) publish() (err error) {
	defer func() { err = errors.Join(err, t.unlock()) }()
	err = errors.Join(syncAll(t.root), t.root.Close())
	if err == nil {
		err = t.place()
	}
	if err != nil {
		return fmt.Errorf("what was restored and is not in its place yet is in %s: %w", t.dir, err)
	}
	return syncDir(filepath.Dir(t.dest))
}

func (t *target) place() error {
	entries, err := os.ReadDir(t.dest)
	if err == nil && len(entries) == 0 {
		err = os.Remove(t.dest)
	}
	if err == nil && len(entries) == 0 || errors.Is(err, fs.ErrNotExist) {
		return os.Rename(t.dir, t.dest)
	}
	if err != nil {
		return err
	}
	above, err := os.OpenRoot(filepath.Dir(t.dest))
	if err != nil {
		return err
	}
	return errors.Join(moveInto(above, filepath.Base(t.dir), filepath.Base(t.dest)), above.Close())
}

// discard removes what a failed restore left.
func (t *target) discard() error {
	return errors.Join(t.root.Close(), os.RemoveAll(t.dir), t.unlock())
}
