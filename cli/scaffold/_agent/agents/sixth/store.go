package sixth

import (
	"cmp"
	"context"
	"io"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// The limits of the provider, with the address of the page that they are from.
const (
	minPart  = 1 << 20
	maxParts = 10_000
)

// A store is one prefix of one bucket. What each method has to do stands with
// object.Store.
type store struct {
	config Config
	prefix string // of all keys: "" or with a slash at its end
}

var _ object.Store = (*store)(nil)

// newStore makes the client of the provider's library, which has to retry nothing,
// follow no redirect and reach for nothing by itself: the transport is env.Transport
// or, where that is nil, one of core/transport that dials by env.Dial.
func newStore(c Config, _ core.Env) (*store, error) {
	s := &store{config: c}
	if c.Prefix != "" {
		s.prefix = c.Prefix + "/"
	}
	return s, nil
}

func (s *store) Limits() object.Limits {
	return object.Limits{PartSize: cmp.Or(s.config.PartSize, 32<<20), MaxParts: maxParts, Workers: s.config.workers()}
}

// Close ends the connections of the client.
func (s *store) Close() error { return nil }

// at is the provider's name of a key.
func (s *store) at(key string) string { return s.prefix + key }

// Put sends one request that the provider refuses when the object is there, with a
// checksum that it verifies, and returns what Stat then finds.
func (s *store) Put(_ context.Context, key string, _ *io.SectionReader, _ core.CRC64) (object.Object, error) {
	return object.Object{}, unwritten("Put", s.at(key))
}

// Range asks for those bytes of that version and no other, and compares what comes
// with what was asked for.
func (s *store) Range(_ context.Context, o object.Object, _, _ int64) (io.ReadCloser, error) {
	return nil, unwritten("Range", s.at(o.Key))
}

// Stat tells a bucket that is not there (core.ErrNoPlace) from an object that is not
// there (core.ErrNotFound).
func (s *store) Stat(_ context.Context, key string) (object.Object, error) {
	return object.Object{}, unwritten("Stat", s.at(key))
}

// Delete removes an object. One that is not there is no error.
func (s *store) Delete(_ context.Context, key string) error {
	return unwritten("Delete", s.at(key))
}
