package sixth

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/offsite-backup/offsite/core/object"
)

// A multipart is one upload in parts. What it consists of, the provider knows: an
// upload that was interrupted goes on in another process with what is found there.
type multipart struct {
	*store
	key, token string
	started    time.Time
}

var _ object.Multipart = (*multipart)(nil)

// Begin starts an upload that keeps the token, and Multiparts finds it again.
func (s *store) Begin(_ context.Context, key, token string) (object.Multipart, error) {
	m := &multipart{store: s, key: key, token: token}
	return nil, unwritten("Begin", m.at(m.key))
}

// Multiparts lists the uploads that were begun and not ended.
func (s *store) Multiparts(_ context.Context, prefix string) iter.Seq2[object.Multipart, error] {
	return func(yield func(object.Multipart, error) bool) {
		yield(nil, unwritten("Multiparts", s.at(prefix)))
	}
}

func (m *multipart) Key() string        { return m.key }
func (m *multipart) Token() string      { return m.token }
func (m *multipart) Started() time.Time { return m.started }

// Parts asks the provider, on all pages.
func (m *multipart) Parts(context.Context) ([]object.Part, error) {
	return nil, unwritten("Parts", m.at(m.key))
}

// Put sends one part, with a checksum that the provider verifies.
func (m *multipart) Put(context.Context, object.Part, *io.SectionReader) error {
	return unwritten("Put of a part", m.at(m.key))
}

// Commit makes the object where there is none, of exactly these parts.
func (m *multipart) Commit(context.Context, []object.Part) (object.Object, error) {
	return object.Object{}, unwritten("Commit", m.at(m.key))
}

// Abort removes the parts. That there are none is no error.
func (m *multipart) Abort(context.Context) error {
	return unwritten("Abort", m.at(m.key))
}
