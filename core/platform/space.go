package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"
)

// A disk is what a file system has in all and free, in bytes.
type disk struct{ size, free int64 }

// leave is how much of the disk a run leaves to others: where an application has no
// room any more, it is worse off than without one night's backup.
func (d disk) leave() int64 { return min(256<<20, d.size/20) }

// room answers ENOSPC where the file system of dir has not need bytes besides what
// is left to others. One that does not say how much it has is believed to have it.
func (r *run) room(dir string, need int64) error {
	d, err := r.disk(dir)
	if err != nil || d.size == 0 || d.free >= need+d.leave() {
		return err
	}
	const mib = 1 << 20
	return fmt.Errorf("%s: %w: %d MiB are free, of which others keep %d, and the archive with what hooks dump needs %d",
		dir, syscall.ENOSPC, d.free/mib, d.leave()/mib, (need+mib-1)/mib)
}

func (r *run) disk(dir string) (disk, error) {
	if r.free != nil {
		return r.free(dir)
	}
	return free(dir)
}

// roomAtFirst asks for as much as the job's last run took. Without one, nobody can
// tell: what is packed may become a tenth of it.
func (r *run) roomAtFirst() error {
	last, err := r.entry.state.took(r.job.Name)
	if err != nil {
		return err
	}
	spool := filepath.Dir(r.entry.Spool)
	if spool == r.entry.folder() {
		return r.room(spool, last.Archive+last.Dumped)
	}
	return errors.Join(r.room(spool, last.Archive), r.room(r.entry.folder(), last.Dumped))
}

// roomEvery is short beside what a disk takes to write what is left to others.
const roomEvery = 200 * time.Millisecond

// watchRoom calls stop when there is no room any more while there is no whole archive.
// end waits until nobody watches.
func (r *run) watchRoom(ctx context.Context, stop context.CancelCauseFunc) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(roomEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			err := errors.Join(r.room(filepath.Dir(r.entry.Spool), 0), r.room(r.entry.folder(), 0))
			if r.spool.whole() {
				return
			}
			if err != nil {
				stop(err)
				return
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// dumped is how many bytes the files below dir have.
func dumped(dir string) (size int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // of a guess it is no part
		}
		if info, err := d.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	return size
}
