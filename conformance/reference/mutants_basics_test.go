package reference

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

func brokenBasics() []mutant {
	return []mutant{
		{name: "phantom entry", kills: "A01", also: []string{"A04", "C07", "D06", "E01", "H05", "L05", "M01", "N03"}, with: onList(func(_ core.Agent, _ conformance.Raw, _ conformance.Namespace, all iter.Seq2[core.Backup, error], yield func(core.Backup, error) bool) {
			any := false
			for b, err := range all {
				any = true
				if !yield(b, err) {
					return
				}
			}
			if !any {
				yield(core.Backup{ID: "phantom"}, nil)
			}
		})},
		{name: "drops the last byte at the edge of a part", kills: "A02", with: onRange(func(a *archive, _ context.Context, off, n int64, r io.ReadCloser) io.ReadCloser {
			if a.meta.Size == 0 || a.meta.Size%PartSize != 0 || n >= 0 {
				return r
			}
			return cutReader{io.LimitReader(r, a.meta.Size-off-1), r}
		})},
		{name: "stores nothing for an empty archive", kills: "A02", also: []string{"A05", "A06", "C04"}, with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			if b, err := src.Backup(ctx); err == nil && b.Size == 0 {
				return nil
			}
			return a.Upload(ctx, src)
		})},
		{name: "trusts the planned size", kills: "A03", also: []string{"C04", "C08"}, with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			size := src.Draft().Size
			return a.Upload(ctx, &altered{Source: src, reader: func(r io.ReaderAt) io.ReaderAt {
				return readerAt(func(p []byte, off int64) (int, error) {
					if size > 0 {
						r = io.NewSectionReader(r, 0, size)
					}
					return r.ReadAt(p, off)
				})
			}})
		})},
		{name: "lists what it listed first", kills: "A04", also: []string{"B04", "B09", "C07", "H05", "M01"}, with: staleList(nil)},
		{name: "lists what it listed first and its own uploads", kills: "H05", also: []string{"A04", "C07"}, with: staleList(func(a core.Agent, ctx context.Context, id core.ID) bool {
			_, err := a.Get(ctx, id)
			return err == nil
		})},
		{name: "the second upload replaces the first", kills: "A05", also: []string{"C08", "F04", "H02", "H04"}, with: onAgent(func(a core.Agent, ns conformance.Namespace, raw conformance.Raw) *broken {
			return &broken{upload: func(ctx context.Context, src core.Source) error {
				err := a.Upload(ctx, src)
				if !errors.Is(err, core.ErrExists) {
					return err
				}
				d := src.Draft()
				return errors.Join(raw.Delete(ctx, ns, metaKey(d.ID)), raw.Delete(ctx, ns, d.Archive), a.Upload(ctx, src))
			}}
		})},
		{name: "size from another field", kills: "A06", also: []string{"B01", "B06"}, with: onList(func(_ core.Agent, _ conformance.Raw, _ conformance.Namespace, all iter.Seq2[core.Backup, error], yield func(core.Backup, error) bool) {
			for b, err := range all {
				if b.ContentSize > 0 {
					b.Size = b.ContentSize
				}
				if !yield(b, err) {
					return
				}
			}
		})},
		{name: "delete only hides", kills: "A07", also: []string{"C08", "F04", "L03"}, with: hiding},
		{name: "the second Close panics", kills: "A08", also: []string{"F05", "G06"}, with: onAgent(func(a core.Agent, _ conformance.Namespace, _ conformance.Raw) *broken {
			closed := false
			return &broken{close: func() error {
				if closed {
					panic("closed twice")
				}
				closed = true
				return a.Close()
			}}
		})},
		{name: "closes the source", kills: "A09", with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			err := a.Upload(ctx, src)
			if c, ok := src.Reader(ctx).(io.Closer); ok {
				err = errors.Join(err, c.Close())
			}
			return err
		})},
		{name: "keeps the source", kills: "A09", with: onAgent(func(a core.Agent, _ conformance.Namespace, _ conformance.Raw) *broken {
			var kept core.Source
			var mu sync.Mutex
			return &broken{
				upload: func(ctx context.Context, src core.Source) error {
					mu.Lock()
					kept = src
					mu.Unlock()
					return a.Upload(ctx, src)
				},
				close: func() error {
					mu.Lock()
					defer mu.Unlock()
					if kept != nil {
						_, _ = kept.Reader(context.Background()).ReadAt(make([]byte, 1), 0) // what it says is nothing to a broken agent
					}
					return a.Close()
				},
			}
		})},
		{name: "swallows the error of the sink", kills: "A10", with: onRange(func(_ *archive, _ context.Context, _, _ int64, r io.ReadCloser) io.ReadCloser {
			return swallowing{r}
		})},
		{name: "bound to the context of its constructor", kills: "A11", with: func(r *rig) { r.bound = true }},
		{name: "its sweep does nothing", kills: "A12", also: []string{"A08", "C07", "G01", "Q03"}, with: onAgent(func(core.Agent, conformance.Namespace, conformance.Raw) *broken {
			return &broken{sweep: func(context.Context, func(core.ID) bool) iter.Seq2[core.Leftover, error] {
				return func(func(core.Leftover, error) bool) {}
			}}
		})},
		{name: "returns the same maps to all", kills: "A13", with: onAgent(func(a core.Agent, _ conformance.Namespace, _ conformance.Raw) *broken {
			var mu sync.Mutex
			kept := map[string]core.Backup{}
			return &broken{get: func(ctx context.Context, id core.ID) (core.Backup, error) {
				b, err := a.Get(ctx, id)
				if err != nil {
					return b, err
				}
				doc, err := b.Encode()
				mu.Lock()
				defer mu.Unlock()
				if _, ok := kept[string(doc)]; !ok {
					kept[string(doc)] = b
				}
				return kept[string(doc)], err
			}}
		})},
	}
}

// cutReader reads less than there is.
type cutReader struct {
	io.Reader
	io.Closer
}

// swallowing copies itself, and says that it went well.
type swallowing struct{ io.ReadCloser }

func (s swallowing) WriteTo(w io.Writer) (int64, error) {
	n, err := io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{s.ReadCloser})
	if core.KindOf(err) == "" && !errors.Is(err, context.Canceled) {
		err = nil
	}
	return n, err
}

// staleList repeats its first list, and adds what it uploaded itself while knows
// says that it is there.
func staleList(knows func(core.Agent, context.Context, core.ID) bool) func(*rig) {
	return onAgent(func(a core.Agent, _ conformance.Namespace, _ conformance.Raw) *broken {
		var mu sync.Mutex
		var first map[core.ID]bool
		own := map[core.ID]bool{}
		return &broken{
			upload: func(ctx context.Context, src core.Source) error {
				mu.Lock()
				own[src.Draft().ID] = true
				mu.Unlock()
				return a.Upload(ctx, src)
			},
			list: func(ctx context.Context) iter.Seq2[core.Backup, error] {
				return func(yield func(core.Backup, error) bool) {
					mu.Lock()
					defer mu.Unlock()
					fresh := map[core.ID]bool{}
					for b, err := range a.List(ctx) {
						fresh[b.ID] = true
						if first != nil && !first[b.ID] && (knows == nil || !own[b.ID] || !knows(a, ctx, b.ID)) && err == nil {
							continue
						}
						if !yield(b, err) {
							return
						}
					}
					if first == nil {
						first = fresh
					}
				}
			},
		}
	})
}

// hiding deletes by leaving the metadata and the archive where they are.
func hiding(r *rig) {
	var mu sync.Mutex
	hidden := map[string]bool{}
	is := func(ns conformance.Namespace, id core.ID) bool {
		mu.Lock()
		defer mu.Unlock()
		return hidden[prefix(ns)+string(id)]
	}
	r.agent = func(a core.Agent, ns conformance.Namespace, _ conformance.Raw) *broken {
		missing := func(op string, id core.ID) error {
			return &core.Error{Kind: core.ErrNotFound, Agent: a.Name(), Op: op, ID: id}
		}
		return &broken{
			delete: func(ctx context.Context, id core.ID) error {
				if is(ns, id) {
					return missing("delete", id)
				}
				_, err := a.Get(ctx, id)
				if err != nil && !errors.Is(err, core.ErrDamaged) {
					return kindly(err, "", "")
				}
				mu.Lock()
				defer mu.Unlock()
				hidden[prefix(ns)+string(id)] = true
				return nil
			},
			get: func(ctx context.Context, id core.ID) (core.Backup, error) {
				if is(ns, id) {
					return core.Backup{}, missing("get", id)
				}
				return a.Get(ctx, id)
			},
			open: func(ctx context.Context, id core.ID) (core.Archive, error) {
				if is(ns, id) {
					return nil, missing("open", id)
				}
				return a.Open(ctx, id)
			},
			upload: func(ctx context.Context, src core.Source) error {
				if id := src.Draft().ID; is(ns, id) {
					return &core.Error{Kind: core.ErrExists, Agent: a.Name(), Op: "upload", ID: id}
				}
				return a.Upload(ctx, src)
			},
			list: func(ctx context.Context) iter.Seq2[core.Backup, error] {
				return func(yield func(core.Backup, error) bool) {
					for b, err := range a.List(ctx) {
						if !is(ns, b.ID) && !yield(b, err) {
							return
						}
					}
				}
			},
		}
	}
}
