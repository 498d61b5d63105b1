package filetree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// publish gives a complete and synced file its final name in one step, and
// answers core.ErrExists when that is taken. The file may keep its old name too.
//
// Of the three ways the first that the place offers is taken: a rename that
// replaces nothing, a hard link, or, where neither is known, a rename under a claim.
func (s *Store) publish(ctx context.Context, from, to string) error {
	err := s.fs.RenameNoReplace(ctx, from, to)
	if errors.Is(err, errors.ErrUnsupported) {
		err = s.fs.Link(ctx, from, to)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		err = s.renameClaimed(ctx, from, to)
	}
	return s.fail(ctx, err)
}

const (
	claimHeld  = 10 * time.Second // how long a claim is made use of
	claimStale = time.Minute      // how old one is that a killed process left
)

// renameClaimed renames while it holds the claim to the name: a file that only one
// can create. A claim that was left behind is removed when it is so old that
// nobody makes use of it any more.
func (s *Store) renameClaimed(ctx context.Context, from, to string) error {
	claim := claimName(to)
	err := s.create(ctx, claim)
	if errors.Is(err, fs.ErrExist) {
		if err := s.breakClaim(ctx, to); err != nil {
			return err
		}
		err = s.create(ctx, claim)
	}
	if errors.Is(err, fs.ErrExist) {
		return busy(to)
	}
	if err != nil {
		return err
	}
	later, end := outlast(ctx)
	defer end()
	held, cancel := context.WithTimeout(ctx, claimHeld)
	defer cancel()
	if _, err = s.fs.Lstat(held, to); err == nil {
		return errors.Join(fs.ErrExist, s.remove(later, claim))
	}
	if errors.Is(err, fs.ErrNotExist) {
		// Without an answer it may yet happen. Then the claim has to stay.
		if err := s.fs.Rename(held, from, to); err != nil {
			return err
		}
		err = nil
	}
	return errors.Join(err, s.remove(later, claim))
}

func busy(to string) error {
	return core.Errorf(core.ErrUnavailable, "another upload is giving %s its name; try again in a minute", to)
}

// create makes an empty file.
func (s *Store) create(ctx context.Context, name string) error {
	f, err := s.fs.OpenFile(ctx, name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	return f.Close()
}

// breakClaim removes the claim to a key if it is stale.
func (s *Store) breakClaim(ctx context.Context, key string) error {
	info, err := s.fs.Lstat(ctx, claimName(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return s.fail(ctx, err)
	}
	now, err := s.now(ctx, key)
	if err != nil || now.Sub(info.ModTime()) < claimStale {
		return err
	}
	return s.remove(ctx, claimName(key))
}

// now is the time by the clock that dates the files of the place: that of an upload
// that is begun and aborted at once.
func (s *Store) now(ctx context.Context, key string) (time.Time, error) {
	token, err := s.token()
	if err != nil {
		return time.Time{}, err
	}
	m, err := s.begin(ctx, key, token)
	if err != nil {
		return time.Time{}, err
	}
	return m.started, mayStay(m.clear(ctx))
}
