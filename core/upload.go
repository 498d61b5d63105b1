package core

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"regexp"
	"time"
)

// Upload stores the file at path as one backup and returns the metadata that the
// agent has of it then. metadata is what the caller knows: an empty ID, Created
// or Archive is made up, size and checksums are the file's. Calling it again with
// the ID that it was called with goes on with an upload that was interrupted.
func Upload(ctx context.Context, agent Agent, path string, metadata Backup) (_ Backup, err error) {
	if metadata.Created.IsZero() {
		metadata.Created = time.Now()
	}
	if metadata.ID == "" {
		if metadata.ID, err = NewID(metadata.Created, rand.Reader); err != nil {
			return Backup{}, err
		}
	}
	if metadata.Archive == "" {
		if metadata.Archive, err = ArchiveKey(metadata.ID, Extension(path)); err != nil {
			return Backup{}, err
		}
	}
	src, err := OpenFile(path, metadata, nil)
	if err != nil {
		return Backup{}, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if err := agent.Upload(ctx, src); err != nil {
		return Backup{}, err
	}
	return agent.Get(ctx, metadata.ID)
}

var trailing = regexp.MustCompile(`(\.[a-z0-9]{1,8}){0,3}$`)

// Extension is the longest end of a file's name that an archive's key may have,
// such as ".tar.zst", or "".
func Extension(path string) string {
	return trailing.FindString(filepath.Base(path))
}
