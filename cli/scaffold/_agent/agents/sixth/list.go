package sixth

import (
	"context"
	"iter"

	"github.com/offsite-backup/offsite/core/object"
)

// List asks for page after page as the caller goes on. A page that says that there is
// more, and not how to ask for it, is an error and no end.
func (s *store) List(_ context.Context, prefix, _ string) iter.Seq2[object.Object, error] {
	return func(yield func(object.Object, error) bool) {
		yield(object.Object{}, unwritten("List", s.at(prefix)))
	}
}
