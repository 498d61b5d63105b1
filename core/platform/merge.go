package platform

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// moveInto moves what lies in the directory from into the directory to. A directory
// that both have is merged and gets the mode and time of the one in from.
// Anything else takes the place of what has its name in one step, so that under
// each name there is the old thing or the new one, whole. Links are not followed.
func moveInto(root *os.Root, from, to string) error {
	entries, err := fs.ReadDir(root.FS(), from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		if err := move(root, info, path.Join(from, e.Name()), path.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return root.Remove(from)
}

func move(root *os.Root, info fs.FileInfo, from, to string) error {
	there, err := root.Lstat(to)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !info.IsDir() {
		if there != nil && there.IsDir() {
			if err := root.Remove(to); err != nil {
				return core.Errorf(core.ErrExists, "%s is a folder with something in it, and a file in the backup: %w", to, err)
			}
		}
		return root.Rename(from, to)
	}
	// Moving a directory, and moving out of it, takes the right to write into it.
	if err := root.Chmod(from, 0o700); err != nil {
		return err
	}
	switch {
	case there != nil && there.IsDir():
		err = moveInto(root, from, to)
	case there != nil:
		if err := root.Remove(to); err != nil {
			return err
		}
		fallthrough
	default:
		err = root.Rename(from, to)
	}
	if err != nil {
		return err
	}
	return errors.Join(root.Chtimes(to, time.Time{}, info.ModTime()), root.Chmod(to, info.Mode()))
}
