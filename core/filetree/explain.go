package filetree

import (
	"context"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

var _ object.Explainer = (*Store)(nil)

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
