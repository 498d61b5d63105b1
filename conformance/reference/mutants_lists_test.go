package reference

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"sync"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

func brokenLists() []mutant {
	return []mutant{
		{name: "one page alone", kills: "E01", also: []string{"A02", "C07", "C11", "E02", "E03", "E05", "E09", "H01", "H05", "L01", "L02"}, with: onPlace(func(q request, ask asked) response {
			if q.Op == list && q.After != "" {
				return response{}
			}
			return ask(q)
		})},
		{name: "loses one at the edge of a page", kills: "E01", also: []string{"A02", "C07", "C11", "E02", "E03", "E05", "E09", "H01", "H05", "L01", "L02"}, with: onPlace(func(q request, ask asked) response {
			r := ask(q)
			if q.Op == list && q.After != "" && len(r.Keys) > 0 {
				r.Keys = r.Keys[1:]
			}
			return r
		})},
		{name: "repeats one at the edge of a page", kills: "E01", also: []string{"A02", "C07", "C11", "E02", "E03", "E05", "E09", "H01", "H05", "L01", "L02"}, with: onPlace(func(q request, ask asked) response {
			r := ask(q)
			if q.Op == list && q.After != "" && len(r.Keys) > 0 {
				r.Keys = append([]string{q.After}, r.Keys...)
			}
			return r
		})},
		{name: "ends at 20", kills: "E02", also: []string{"C07", "E09", "H01", "L01"}, with: capped(20)},
		{name: "ends at 100", kills: "E02", with: capped(100)},
		{name: "ends at 1000", kills: "E02", with: capped(1000)},
		{name: "pages by number", kills: "E03", with: byNumber},
		{name: "fetches all before the first", kills: "E04", with: onList(func(_ core.Agent, _ conformance.Raw, _ conformance.Namespace, all iter.Seq2[core.Backup, error], yield func(core.Backup, error) bool) {
			type item struct {
				core.Backup
				err error
			}
			var items []item
			for b, err := range all {
				items = append(items, item{b, err})
			}
			for _, i := range items {
				if !yield(i.Backup, i.err) {
					return
				}
			}
		})},
		{name: "swallows the error of a page", kills: "E05", also: []string{"F08"}, with: onList(func(_ core.Agent, _ conformance.Raw, _ conformance.Namespace, all iter.Seq2[core.Backup, error], yield func(core.Backup, error) bool) {
			for b, err := range all {
				if b.ID == "" && core.KindOf(err) == core.ErrUnavailable || !yield(b, err) {
					return
				}
			}
		})},
		{name: "an odd marker is not escaped", kills: "E09", with: onPlace(func(q request, ask asked) response {
			q.After = strings.NewReplacer(" ", "~", "+", "~", "%", "~", "&", "~").Replace(q.After)
			return ask(q)
		})},
		{name: "panics at a foreign object", kills: "E10", also: []string{"E09"}, with: onList(func(_ core.Agent, raw conformance.Raw, ns conformance.Namespace, all iter.Seq2[core.Backup, error], yield func(core.Backup, error) bool) {
			keys, _ := raw.List(context.Background(), ns) // memory does not fail
			for _, k := range keys {
				if _, ok := idOf(k); strings.HasPrefix(k, "meta/") && !ok {
					panic("no id: " + k)
				}
			}
			pass(all, yield)
		})},
	}
}

// capped ends a list without a word.
func capped(most int) func(*rig) {
	return onList(func(_ core.Agent, _ conformance.Raw, _ conformance.Namespace, all iter.Seq2[core.Backup, error], yield func(core.Backup, error) bool) {
		n := 0
		for b, err := range all {
			if n++; n > most || !yield(b, err) {
				return
			}
		}
	})
}

// silentEnd leaves such an error out that ends a list after its first entry.
func silentEnd(silent func(error) bool) func(*rig) {
	return onList(func(_ core.Agent, _ conformance.Raw, _ conformance.Namespace, all iter.Seq2[core.Backup, error], yield func(core.Backup, error) bool) {
		began := false
		for b, err := range all {
			if began && err != nil && silent(err) || !yield(b, err) {
				return
			}
			began = true
		}
	})
}

// byNumber asks for the next page by how many keys it had so far.
func byNumber(r *rig) {
	var mu sync.Mutex
	had := map[string]int{}
	onPlace(func(q request, ask asked) response {
		if q.Op != list {
			return ask(q)
		}
		mu.Lock()
		defer mu.Unlock()
		if q.After == "" {
			had[q.Key] = 0
		}
		all := ask(request{Op: list, Key: q.Key, Max: 1 << 30}).Keys
		from := min(had[q.Key], len(all))
		page := all[from:min(len(all), from+q.Max)]
		had[q.Key] += len(page)
		if from+len(page) == len(all) {
			return response{Keys: page}
		}
		return response{Keys: page, More: true, Next: page[len(page)-1]}
	})(r)
}

func brokenCalls() []mutant {
	return []mutant{
		{name: "a missing backup is no special error", kills: "F01", also: []string{"A07", "B08", "M02"}, with: onAgent(func(a core.Agent, _ conformance.Namespace, _ conformance.Raw) *broken {
			return &broken{delete: func(ctx context.Context, id core.ID) error {
				return kindly(a.Delete(ctx, id), core.ErrNotFound, core.ErrUnavailable)
			}}
		})},
		{name: "denied is not found", kills: "F02", with: onGet(func(ctx context.Context, a core.Agent, id core.ID) (core.Backup, error) {
			b, err := a.Get(ctx, id)
			return b, kindly(err, core.ErrDenied, core.ErrNotFound)
		})},
		{name: "an error without its id", kills: "F04", with: onGet(func(ctx context.Context, a core.Agent, id core.ID) (core.Backup, error) {
			b, err := a.Get(ctx, id)
			if e := (*core.Error)(nil); errors.As(err, &e) {
				e.ID = ""
			}
			return b, err
		})},
		{name: "an error without its cause", kills: "F04", also: []string{"A09", "C02"}, with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			err := a.Upload(ctx, src)
			if err != nil && core.KindOf(err) == "" && ctx.Err() == nil {
				return core.Errorf(core.ErrUnavailable, "%v", err)
			}
			return err
		})},
		{name: "a secret in an error", kills: "F05", with: onAgent(func(a core.Agent, _ conformance.Namespace, _ conformance.Raw) *broken {
			return &broken{delete: func(ctx context.Context, id core.ID) error {
				err := a.Delete(ctx, id)
				if e := (*core.Error)(nil); errors.As(err, &e) {
					e.Detail = "token the-secret-of-the-reference"
				}
				return err
			}}
		})},
		{name: "no archive and no error", kills: "F08", also: []string{"F05"}, with: onAgent(func(a core.Agent, _ conformance.Namespace, _ conformance.Raw) *broken {
			return &broken{open: func(ctx context.Context, id core.ID) (core.Archive, error) {
				opened, err := a.Open(ctx, id)
				if errors.Is(err, core.ErrUnavailable) {
					return nil, nil
				}
				return opened, err
			}}
		})},
		{name: "ignores its context", kills: "G01", with: onGet(func(ctx context.Context, a core.Agent, id core.ID) (core.Backup, error) {
			return a.Get(context.WithoutCancel(ctx), id)
		})},
		{name: "a cancelled list ends as if whole", kills: "G01", with: silentEnd(func(err error) bool { return core.KindOf(err) == "" })},
		{name: "a closed list ends as if whole", kills: "G06", with: silentEnd(func(err error) bool { return errors.Is(err, core.ErrClosed) })},
		{name: "says of Close that its caller gave up", kills: "G06", with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			began := false
			err := a.Upload(ctx, &altered{Source: src, reader: func(r io.ReaderAt) io.ReaderAt {
				began = true
				return r
			}})
			if began && errors.Is(err, core.ErrClosed) {
				return context.Canceled
			}
			return err
		})},
		{name: "asks before it looks at its context", kills: "G01", also: []string{"C07"}, with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			_, _ = a.Get(context.WithoutCancel(ctx), src.Draft().ID)
			return a.Upload(ctx, src)
		})},
	}
}
