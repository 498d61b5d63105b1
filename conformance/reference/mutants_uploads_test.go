package reference

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

func brokenUploads() []mutant {
	return []mutant{
		{name: "half an object is visible", kills: "C01", with: showing},
		{name: "stores what came before the error", kills: "C02", also: []string{"A09", "C03", "C08", "F04", "M02"}, with: believing(
			func(promised, came core.Backup) bool { return came.Size < promised.Size },
			func(err error) bool { return !errors.Is(err, io.EOF) && !isContext(err) && core.KindOf(err) == "" })},
		{name: "takes an error for the end", kills: "C02", also: []string{"A09", "F04"}, with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			return a.Upload(ctx, &altered{Source: src, reader: func(r io.ReaderAt) io.ReaderAt {
				return readerAt(func(p []byte, off int64) (int, error) {
					n, err := r.ReadAt(p, off)
					if err != nil && ctx.Err() == nil {
						err = io.EOF
					}
					return n, err
				})
			}})
		})},
		{name: "takes the error of a source for its own", kills: "C02", with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			var given *core.Error
			err := a.Upload(ctx, &altered{Source: src, reader: func(r io.ReaderAt) io.ReaderAt {
				return readerAt(func(p []byte, off int64) (int, error) {
					n, err := r.ReadAt(p, off)
					if ctx.Err() == nil {
						errors.As(err, &given)
					}
					return n, err
				})
			}})
			if given == nil {
				return err
			}
			own := *given
			own.Agent, own.Op, own.ID = a.Name(), "upload", src.Draft().ID
			return &own
		})},
		{name: "believes metadata without its archive", kills: "B08", with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			err := a.Upload(ctx, src)
			if errors.Is(err, core.ErrDamaged) {
				return nil
			}
			return err
		})},
		{name: "accepts a short source", kills: "C03", also: []string{"C08"}, with: believing(func(promised, came core.Backup) bool { return came.Size < promised.Size }, nil)},
		{name: "pads with zeros", kills: "C03", also: []string{"A03", "C08"}, with: padding},
		{name: "ignores a surplus", kills: "C04", also: []string{"A03", "C08"}, with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			size := src.Draft().Size
			return a.Upload(ctx, &altered{Source: src, reader: func(r io.ReaderAt) io.ReaderAt {
				if b, err := src.Backup(ended(ctx)); err == nil {
					size = b.Size
				}
				return io.NewSectionReader(r, 0, size)
			}})
		})},
		{name: "commits after a cancel", kills: "C06", also: []string{"G01"}, racy: true, with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			done := make(chan error, 1)
			go func() { done <- a.Upload(context.WithoutCancel(ctx), src) }()
			select {
			case err := <-done:
				return err
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})},
		{name: "commits a second after a cancel", kills: "C06", racy: true, with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			err := a.Upload(ctx, src)
			if ctx.Err() != nil {
				go func() {
					<-time.After(time.Second)
					_ = a.Upload(context.WithoutCancel(ctx), src) // nobody is there to be told
				}()
			}
			return err
		})},
		{name: "forgets that it was cancelled", kills: "C06", also: []string{"G01", "H02", "K02"}, with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			err := a.Upload(ctx, src)
			if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
				return nil
			}
			return err
		})},
		{name: "an upload that was killed locks the id", kills: "C07", also: []string{"C09", "C10", "C12", "G06", "H02", "H04"}, with: onPlace(func(q request, ask asked) response {
			if q.Op != uploads || strings.HasSuffix(q.Key, "/data/") {
				return ask(q)
			}
			for _, u := range ask(q).Uploads {
				if u.Key == q.Key {
					return response{Err: core.ErrExists}
				}
			}
			return response{}
		})},
		{name: "leaves its parts", kills: "C08", also: []string{"C07", "Q03"}, with: onPlace(func(q request, ask asked) response {
			if q.Op == abort {
				return response{}
			}
			return ask(q)
		})},
		{name: "the marker first", kills: "C09", also: []string{"A05", "C03", "C04", "C08", "C12", "C13", "D06", "H02", "H04"}, with: onAgent(func(a core.Agent, ns conformance.Namespace, raw conformance.Raw) *broken {
			return &broken{upload: func(ctx context.Context, src core.Source) error {
				return a.Upload(ctx, &altered{Source: src, backup: func(b core.Backup) core.Backup {
					if doc, err := b.Encode(); err == nil {
						_ = raw.Put(ctx, ns, metaKey(b.ID), doc) // memory does not fail
					}
					return b
				}})
			}}
		})},
		{name: "deletes the archive first", kills: "C09", with: onAgent(func(a core.Agent, ns conformance.Namespace, raw conformance.Raw) *broken {
			return &broken{delete: func(ctx context.Context, id core.ID) error {
				if b, err := a.Get(ctx, id); err == nil {
					_ = raw.Delete(ctx, ns, b.Archive) // memory does not fail
				}
				return a.Delete(ctx, id)
			}}
		})},
		{name: "a late cleanup deletes the success", kills: "C10", also: []string{"A05", "B08", "C08", "H02", "H04"}, with: onAgent(func(a core.Agent, ns conformance.Namespace, raw conformance.Raw) *broken {
			return &broken{upload: func(ctx context.Context, src core.Source) error {
				err := a.Upload(ctx, src)
				if d := src.Draft(); err != nil && d.ValidateDraft() == nil {
					clean := context.WithoutCancel(ctx)
					err = errors.Join(err, raw.Delete(clean, ns, metaKey(d.ID)), raw.Delete(clean, ns, d.Archive))
				}
				return err
			}}
		})},
		{name: "one temporary name", kills: "C11", also: []string{"H01", "H02", "H04", "H05", "K02"}, racy: true, with: sharing(func(request) string { return "" })},
		{name: "one temporary name for each id", kills: "H02", also: []string{"C10", "H04", "K02"}, racy: true, with: sharing(func(q request) string { return q.Key })},
		{name: "uploads share a buffer", kills: "H01", also: []string{"C11", "H02", "H04", "H05"}, racy: true, with: sharedBuffer},
		{name: "goes on with the parts of another", kills: "H02", also: []string{"K02"}, racy: true, with: sharedParts},
		{name: "looks, then writes", kills: "H04", also: []string{"H02"}, racy: true, with: lookThenWrite},
		{name: "ignores a wrong hash", kills: "D06", also: []string{"A03"}, with: believing(func(promised, came core.Backup) bool { return came.Size == promised.Size }, nil)},
		{name: "swaps the last parts of five", kills: "D05", also: []string{"A02", "A03", "A10", "C08", "C09", "C12", "D01", "D02", "G03", "H02", "H03", "K02"}, with: onPlace(func(q request, ask asked) response {
			if q.Op == putPart && (q.Index == 3 || q.Index == 4) {
				q.Index = 7 - q.Index
			}
			if q.Op == commit && len(q.Sums) == 5 {
				q.Sums = slices.Clone(q.Sums)
				q.Sums[3], q.Sums[4] = q.Sums[4], q.Sums[3]
			}
			return ask(q)
		})},
	}
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// ended is a context that has ended, for who does not want to wait.
func ended(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

// showing lists uploads while they run.
func showing(r *rig) {
	var mu sync.Mutex
	running := map[string]core.Backup{}
	r.agent = func(a core.Agent, ns conformance.Namespace, _ conformance.Raw) *broken {
		return &broken{
			upload: func(ctx context.Context, src core.Source) error {
				d := src.Draft()
				mu.Lock()
				running[prefix(ns)+string(d.ID)] = d
				mu.Unlock()
				defer func() {
					mu.Lock()
					delete(running, prefix(ns)+string(d.ID))
					mu.Unlock()
				}()
				return a.Upload(ctx, src)
			},
			get: func(ctx context.Context, id core.ID) (core.Backup, error) {
				mu.Lock()
				d, ok := running[prefix(ns)+string(id)]
				mu.Unlock()
				if ok {
					return d, nil
				}
				return a.Get(ctx, id)
			},
			list: func(ctx context.Context) iter.Seq2[core.Backup, error] { return a.List(ctx) },
		}
	}
}

// padding makes a source as long as its metadata says.
func padding(r *rig) {
	onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
		size := src.Draft().Size
		sums := core.NewSums(nil)
		padded := false
		return a.Upload(ctx, &altered{Source: src,
			reader: func(r io.ReaderAt) io.ReaderAt {
				return readerAt(func(p []byte, off int64) (int, error) {
					n, err := r.ReadAt(p, off)
					if err == io.EOF && off+int64(n) < size {
						more := min(int64(len(p)-n), size-off-int64(n))
						clear(p[n : n+int(more)])
						n, padded = n+int(more), true
						if n == len(p) {
							err = nil
						}
					}
					_, _ = sums.Write(p[:n]) // the reference reads in order, each byte once
					return n, err
				})
			},
			backup: func(b core.Backup) core.Backup {
				if padded {
					sums.Fill(&b)
				}
				return b
			},
		})
	})(r)
}

// sharing puts the parts of all uploads of one name into one file, where others
// write before it is committed.
func sharing(name func(request) string) func(*rig) {
	var mu sync.Mutex
	files := map[string][][]byte{}
	return onPlace(func(q request, ask asked) response {
		if q.Op == commit {
			<-time.After(10 * time.Millisecond)
		}
		mu.Lock()
		defer mu.Unlock()
		n := name(q)
		switch q.Op {
		case putPart:
			all := files[n]
			if missing := q.Index + 1 - len(all); missing > 0 {
				all = append(all, make([][]byte, missing)...)
			}
			all[q.Index] = bytes.Clone(q.Data)
			files[n] = all
			return response{}
		case commit:
			all := files[n]
			return ask(request{Op: put, Key: q.Key, Mode: q.Mode, Data: bytes.Join(all[:min(len(all), len(q.Sums))], nil)})
		case begin, abort:
			return response{}
		}
		return ask(q)
	})
}

// sharedParts puts the parts of all uploads of one key that begin with the same
// part into one file, and commits what lies there. Who wrote to it last commits
// last.
func sharedParts(r *rig) {
	var mu sync.Mutex
	file, last := map[string]string{}, map[string]string{} // by token, by file
	share := sharing(func(q request) string {
		mu.Lock()
		defer mu.Unlock()
		if q.Op == putPart && q.Index == 0 {
			file[q.Token] = q.Key + "\n" + string(q.Data)
		}
		if q.Op == putPart {
			last[file[q.Token]] = q.Token
		}
		return file[q.Token]
	})
	share(r)
	shared := r.ask
	r.ask = func(ask roundTrip) roundTrip {
		broken := shared(ask)
		return func(ctx context.Context, q request) response {
			if q.Op == commit {
				<-time.After(10 * time.Millisecond)
				mu.Lock()
				mine := last[file[q.Token]] == q.Token
				mu.Unlock()
				if mine {
					<-time.After(20 * time.Millisecond)
				}
			}
			return broken(ctx, q)
		}
	}
}

// sharedBuffer sends every part from one buffer, which others fill meanwhile.
func sharedBuffer(r *rig) {
	var mu sync.Mutex
	var shared []byte
	filling := 0
	onPlace(func(q request, ask asked) response {
		if q.Op != putPart {
			return ask(q)
		}
		mu.Lock()
		shared = bytes.Clone(q.Data) // its owner fills it again
		filling++
		mu.Unlock()
		<-time.After(time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		if filling--; !bytes.Equal(shared, q.Data) {
			q.Data = shared
		}
		return ask(q)
	})(r)
}

// lookThenWrite creates objects in two steps.
func lookThenWrite(r *rig) {
	var mu sync.Mutex
	sent := map[string][]byte{}
	onPlace(func(q request, ask asked) response {
		mu.Lock()
		if q.Op == putPart {
			sent[q.Token] = append(sent[q.Token], q.Data...)
		}
		data := sent[q.Token]
		mu.Unlock()
		if q.Op != put && q.Op != commit {
			return ask(q)
		}
		if q.Op == put {
			data = q.Data
		}
		if ask(request{Op: stat, Key: q.Key}).Err == nil {
			return response{Err: core.ErrExists}
		}
		<-time.After(5 * time.Millisecond)
		if q.Op == commit {
			ask(request{Op: abort, Key: q.Key, Token: q.Token})
		}
		return ask(request{Op: replace, Key: q.Key, Data: bytes.Clone(data), Mode: q.Mode})
	})(r)
}
