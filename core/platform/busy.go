package platform

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// ErrBusy says that another process runs the same job.
var ErrBusy = errors.New("busy")

// job takes the lock of a job, which ends with this process however that ends. A
// run without a job needs none.
func (s *state) job(name string) (release func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	dir := filepath.Join(s.dir, "jobs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(dir, url.PathEscape(name)+".lock"), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil || !ok {
		err = errors.Join(err, lock.Close())
		if err == nil {
			err = fmt.Errorf("job %s runs in another process: %w", name, ErrBusy)
		}
		return nil, err
	}
	return lock.Close, nil
}
