package object

import (
	"context"
	"io"
	"testing"

	"github.com/offsite-backup/offsite/core"
)

// inOrder is a store whose parts have to come one after the other.
type inOrder struct{ *memory }

func (s inOrder) Begin(ctx context.Context, key, token string) (Multipart, error) {
	m, err := s.memory.Begin(ctx, key, token)
	return &orderly{Multipart: m}, err
}

type orderly struct {
	Multipart
	next int // without a lock: the race detector sees who is not waited for
}

func (*orderly) InOrder() bool { return true }

func (o *orderly) Put(ctx context.Context, p Part, body *io.SectionReader) error {
	if p.Index != o.next {
		return core.Errorf(core.ErrChanged, "part %d comes, where %d is the next", p.Index, o.next)
	}
	err := o.Multipart.Put(ctx, p, body)
	o.next++
	return err
}

// Parts come one after the other where a place asks for that.
func TestPartsInOrder(t *testing.T) {
	m := newMemory()
	env := core.Env{Name: "mem"}
	a := New(Retry(inOrder{m}, env), env)
	defer a.Close()
	if err := a.Upload(t.Context(), source(t, id, content(1, 20*int(m.limits.PartSize)))); err != nil {
		t.Error(err)
	}
}
