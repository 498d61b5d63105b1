package filetree

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

var (
	_ object.Explainer   = (*Store)(nil)
	_ object.Writability = (*Store)(nil)
)

// Right is that of the FS, where it is an object.Explainer.
func (s *Store) Right(err error) string {
	if x, ok := s.fs.(object.Explainer); ok {
		return x.Right(err)
	}
	return ""
}

// Settings are those of the FS, where it is an object.Explainer.
func (s *Store) Settings(ctx context.Context) ([]core.Finding, error) {
	x, ok := s.fs.(object.Explainer)
	if !ok {
		return nil, nil
	}
	found, err := x.Settings(ctx)
	return found, s.fail(ctx, err)
}

// probe is a name that no key has.
const probe = ",examine"

// Writable makes an empty file beside the objects, which no list shows, and removes it;
// where their directory is not there yet, in the place. Where it may not be removed it
// stays, one for each directory.
func (s *Store) Writable(ctx context.Context, prefix string) error {
	name := prefix + probe
	if _, err := s.fs.Lstat(ctx, strings.TrimSuffix(prefix, "/")); errors.Is(err, fs.ErrNotExist) {
		name = probe
	}
	later, end := outlast(ctx)
	defer end()
	defer func() { _ = s.fs.Remove(later, name) }()
	if err := s.create(ctx, name); err != nil && !errors.Is(err, fs.ErrExist) {
		return s.fail(ctx, err)
	}
	return nil
}
