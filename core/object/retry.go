package object

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transfer"
)

// Retry returns a Store over one at the other end of a network. It tries requests
// again whose errors may pass, ends those on which nothing moves, reads on where
// a range broke off, and lists on after the last key. env.Patience says how long.
//
// A request whose answer was lost may so be made twice: what was created then is
// ErrExists, and what was committed ErrNotFound. Agent looks whose it is.
func Retry(store Store, env core.Env) Store {
	env = env.WithDefaults()
	return &retrying{store, &transfer.Retry{
		Patience: env.Patience,
		Failed: func(ctx context.Context, err error, again time.Duration) {
			env.Log.InfoContext(ctx, "a request is made again", "agent", env.Name, "in", again, "error", err)
		},
	}}
}

type retrying struct {
	Store
	retry *transfer.Retry
}

var (
	_ Settler     = (*retrying)(nil)
	_ Protector   = (*retrying)(nil)
	_ Writability = (*retrying)(nil)
	_ Explainer   = (*retrying)(nil)
)

// flips is how often bytes are sent again that arrived as others.
const flips = 3

// send does what sends bytes: those that arrived as others are sent again.
func (s *retrying) send(ctx context.Context, request func(*transfer.Watch) error) (err error) {
	for range flips {
		if err = s.retry.Do(ctx, request); !errors.Is(err, core.ErrDamaged) {
			break
		}
	}
	return err
}

func (s *retrying) Put(ctx context.Context, key string, body *io.SectionReader, sum core.CRC64) (o Object, err error) {
	err = s.send(ctx, func(w *transfer.Watch) (err error) {
		o, err = s.Store.Put(w, key, w.Body(body), sum)
		return err
	})
	return o, err
}

func (s *retrying) Range(ctx context.Context, o Object, off, n int64) (io.ReadCloser, error) {
	return s.retry.Range(ctx, off, n, func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
		return s.Store.Range(ctx, o, off, n)
	})
}

func (s *retrying) Stat(ctx context.Context, key string) (o Object, err error) {
	err = s.retry.Do(ctx, func(w *transfer.Watch) (err error) {
		o, err = s.Store.Stat(w, key)
		return err
	})
	return o, err
}

func (s *retrying) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for attempts := s.retry.Begin(); ; {
			err := s.list(ctx, prefix, &after, attempts, yield)
			if err == nil {
				return
			}
			if err = attempts.Again(ctx, err); err != nil {
				yield(Object{}, err)
				return
			}
		}
	}
}

// list lists until the end, the caller's or an error, and moves after on.
func (s *retrying) list(ctx context.Context, prefix string, after *string, attempts *transfer.Attempts, yield func(Object, error) bool) error {
	w := s.retry.Watch(ctx)
	defer w.End()
	for o, err := range s.Store.List(w, prefix, *after) {
		w.Pause() // the caller's time
		if err != nil {
			return w.Error(err)
		}
		*after = o.Key
		attempts.Progress()
		if !yield(o, nil) {
			return nil
		}
		w.Moved()
	}
	return nil
}

func (s *retrying) Delete(ctx context.Context, key string) error {
	return s.retry.Do(ctx, func(w *transfer.Watch) error { return s.Store.Delete(w, key) })
}

// Settled is Settler's, where the Store is one.
func (s *retrying) Settled(ctx context.Context, key string) error {
	inner, ok := s.Store.(Settler)
	if !ok {
		return nil
	}
	return s.retry.Do(ctx, func(w *transfer.Watch) error { return inner.Settled(w, key) })
}

// Protected is Protector's, where the Store is one.
func (s *retrying) Protected(ctx context.Context, key string) (until time.Time, err error) {
	inner, ok := s.Store.(Protector)
	if !ok {
		return time.Time{}, nil
	}
	err = s.retry.Do(ctx, func(w *transfer.Watch) (err error) {
		until, err = inner.Protected(w, key)
		return err
	})
	return until, err
}

// Writable is Writability's, where the Store is one.
func (s *retrying) Writable(ctx context.Context, prefix string) error {
	inner, ok := s.Store.(Writability)
	if !ok {
		return nil
	}
	return s.retry.Do(ctx, func(w *transfer.Watch) error { return inner.Writable(w, prefix) })
}

// Right is Explainer's, where the Store is one.
func (s *retrying) Right(err error) string {
	if inner, ok := s.Store.(Explainer); ok {
		return inner.Right(err)
	}
	return ""
}

// Settings is Explainer's, where the Store is one.
func (s *retrying) Settings(ctx context.Context) (found []core.Finding, err error) {
	inner, ok := s.Store.(Explainer)
	if !ok {
		return nil, nil
	}
	err = s.retry.Do(ctx, func(w *transfer.Watch) (err error) {
		found, err = inner.Settings(w)
		return err
	})
	return found, err
}

func (s *retrying) Begin(ctx context.Context, key, token string) (m Multipart, err error) {
	err = s.retry.Do(ctx, func(w *transfer.Watch) (err error) {
		if m, err = s.Store.Begin(w, key, token); err == nil {
			w.Keep() // the upload may live as long
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return retryingParts{m, s}, nil
}

// Multiparts is asked whole, and again whole: it has no order to go on in.
func (s *retrying) Multiparts(ctx context.Context, prefix string) iter.Seq2[Multipart, error] {
	return func(yield func(Multipart, error) bool) {
		var all []Multipart
		err := s.retry.Do(ctx, func(w *transfer.Watch) error {
			all = nil
			for m, err := range s.Store.Multiparts(w, prefix) {
				if err != nil {
					return err
				}
				all = append(all, m)
				w.Moved()
			}
			w.Keep()
			return nil
		})
		for _, m := range all {
			if !yield(retryingParts{m, s}, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

type retryingParts struct {
	Multipart
	store *retrying
}

// InOrder is Ordered's, where the Multipart is one.
func (m retryingParts) InOrder() bool {
	inner, ok := m.Multipart.(Ordered)
	return ok && inner.InOrder()
}

func (m retryingParts) Parts(ctx context.Context) (parts []Part, err error) {
	err = m.store.retry.Do(ctx, func(w *transfer.Watch) (err error) {
		parts, err = m.Multipart.Parts(w)
		return err
	})
	return parts, err
}

func (m retryingParts) Put(ctx context.Context, p Part, body *io.SectionReader) error {
	return m.store.send(ctx, func(w *transfer.Watch) error { return m.Multipart.Put(w, p, w.Body(body)) })
}

func (m retryingParts) Commit(ctx context.Context, parts []Part) (o Object, err error) {
	err = m.store.retry.Do(ctx, func(w *transfer.Watch) (err error) {
		w.Slow() // a place may have to put thousands of parts together
		o, err = m.Multipart.Commit(w, parts)
		return err
	})
	return o, err
}

func (m retryingParts) Abort(ctx context.Context) error {
	return m.store.retry.Do(ctx, func(w *transfer.Watch) error { return m.Multipart.Abort(w) })
}
