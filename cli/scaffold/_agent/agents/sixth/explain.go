package sixth

import (
	"context"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

var _ object.Explainer = (*store)(nil)

// Right is what the provider calls the right that a refused request needs, as the
// error says or its operation tells: "offsite doctor" names it.
func (s *store) Right(error) string { return "" }

// Settings looks at what the bucket does to backups by itself: versions, locks,
// lifecycles. What these credentials may not look at is left out.
func (s *store) Settings(context.Context) ([]core.Finding, error) { return nil, nil }
