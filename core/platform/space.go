package platform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"github.com/offsite-backup/offsite/core/disk"
)

// room answers ENOSPC where the file system of dir has not need bytes besides what
// is left to others. One that does not say how much it has is believed to have it.
func (p *Platform) room(dir string, need int64) error {
	space := p.space
	if space == nil {
		space = disk.Of
	}
	d, err := space(dir)
	if err != nil || d.Size == 0 || d.Free >= need+d.Reserve() {
		return err
	}
	const mib = 1 << 20
	needs := ""
	if need > 0 {
		needs = fmt.Sprintf(", and the archive with what hooks dump needs %d", (need+mib-1)/mib)
	}
	return fmt.Errorf("%s: %w: %d MiB are free, of which others keep %d%s", dir, syscall.ENOSPC, d.Free/mib, d.Reserve()/mib, needs)
}

// rooms is room for an archive in one folder and dumps in another, which may share
// what there is.
func (p *Platform) rooms(spool string, archive int64, dumps string, dumped int64) error {
	if spool == dumps || sameDisk(spool, dumps) {
		return p.room(spool, archive+dumped)
	}
	return errors.Join(p.room(spool, archive), p.room(dumps, dumped))
}

// Room answers ENOSPC where there is not as much room as the last run of a job took.
// Of one that never ran nobody can tell how much it needs: what is packed may become a
// tenth of it. The state folder, and that of the spool, are there.
func (p *Platform) Room(job string) error {
	return p.roomAgain(job, cmp.Or(p.Spool, p.Env.StateDir), p.Env.StateDir)
}

// roomAgain is Room with the folders of the archive and of what hooks dump.
func (p *Platform) roomAgain(job, spool, dumps string) error {
	last, err := (&state{p.Env.StateDir}).took(job)
	if err != nil {
		return err
	}
	return p.rooms(spool, last.Archive, dumps, last.Dumped)
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
			err := r.rooms(filepath.Dir(r.entry.Spool), 0, r.entry.folder(), 0)
			if err != nil && r.spool.fail(err) { // one that is whole is not given up
				stop(err)
			}
			if err != nil || r.spool.whole() {
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
