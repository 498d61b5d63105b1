package reference

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

// The times of core.Sweeper.
const (
	strange = 7 * 24 * time.Hour
	year    = 365 * 24 * time.Hour
)

// found is a leftover and how to remove it.
type found struct {
	core.Leftover
	same   string // what is equal only when it is the very same thing
	remove func(context.Context) error
}

// Sweep is core.Sweeper's.
func (a *agent) Sweep(ctx context.Context, own func(core.ID) bool) iter.Seq2[core.Leftover, error] {
	return func(yield func(core.Leftover, error) bool) {
		ctx, done, err := a.begin(ctx)
		if err != nil {
			yield(core.Leftover{}, a.named("sweep", "", err))
			return
		}
		defer done()
		before, err := a.sightings()
		seen := map[string]time.Time{}
		for _, look := range []func(context.Context) iter.Seq2[found, error]{a.lostParts, a.lostArchives, a.oldMarks} {
			for f, lookErr := range look(ctx) {
				if err = errors.Join(err, lookErr); err != nil {
					yield(core.Leftover{}, a.named("sweep", "", err))
					return
				}
				err := a.sweepOne(ctx, &f, own, before, seen)
				if !yield(f.Leftover, a.named("sweep", f.ID, err)) {
					return
				}
			}
		}
		if err := a.remember(seen); err != nil {
			yield(core.Leftover{}, a.named("sweep", "", err))
		}
	}
}

func (a *agent) sweepOne(ctx context.Context, f *found, own func(core.ID) bool, before, seen map[string]time.Time) error {
	first, known := before[f.same]
	if !known {
		first = a.now()
	}
	if own == nil || !own(f.ID) {
		if a.now().Sub(first) < strange {
			seen[f.same] = first
			return nil
		}
	}
	err := f.remove(ctx)
	f.Removed = err == nil
	return err
}

func (a *agent) lostParts(ctx context.Context) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		r, err := a.step(ctx, conformance.Step{Op: conformance.StepList, Key: "data/"}, request{Op: uploads, Key: "data/"})
		if err != nil {
			yield(found{}, err)
			return
		}
		for _, u := range r.Uploads {
			key := u.Key[len(a.prefix):]
			id, ok := archiveOf(key)
			if !ok {
				continue
			}
			size, err := a.step(ctx, conformance.Step{Op: conformance.StepRead, Key: key}, request{Op: parts, Key: key, Token: u.Token})
			f := found{core.Leftover{ID: id, Key: key, What: "parts", Size: size.Size}, u.Token, func(ctx context.Context) error {
				_, err := a.step(ctx, conformance.Step{Op: conformance.StepRemove, Key: key}, request{Op: abort, Key: key, Token: u.Token})
				return err
			}}
			if !yield(f, err) {
				return
			}
		}
	}
}

func (a *agent) lostArchives(ctx context.Context) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		for key, err := range a.keys(ctx, "data/") {
			id, ok := archiveOf(key)
			if err == nil && !ok {
				continue
			}
			if err == nil {
				if _, err = a.stat(ctx, metaKey(id)); err == nil {
					continue
				}
			}
			if !errors.Is(err, core.ErrNotFound) {
				yield(found{}, err)
				return
			}
			there, err := a.stat(ctx, key)
			f := found{core.Leftover{ID: id, Key: key, What: "archive", Size: there.Size}, fmt.Sprint(key, there.Version), func(ctx context.Context) error {
				return a.remove(ctx, key)
			}}
			if !yield(f, err) {
				return
			}
		}
	}
}

func (a *agent) oldMarks(ctx context.Context) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		for key, err := range a.keys(ctx, "gone/") {
			var mark response
			var text []byte
			if err == nil {
				mark, text, err = a.fetch(ctx, key)
			}
			when, bad := time.Parse(time.RFC3339, string(text))
			id, badID := core.ParseID(key[min(len(key), len("gone/")):])
			if err == nil && (bad != nil || badID != nil || a.now().Sub(when) < year) {
				continue
			}
			f := found{core.Leftover{ID: id, Key: key, What: "mark", Size: mark.Size}, fmt.Sprint(key, mark.Version), func(ctx context.Context) error {
				return a.remove(ctx, key)
			}}
			if !yield(f, err) {
				return
			}
		}
	}
}

// sightings are what earlier sweeps of this host saw, and when first.
func (a *agent) sightings() (map[string]time.Time, error) {
	seen := map[string]time.Time{}
	if a.state == "" {
		return seen, nil
	}
	text, err := os.ReadFile(a.state)
	if errors.Is(err, fs.ErrNotExist) {
		return seen, nil
	}
	if err != nil {
		return nil, err
	}
	return seen, json.Unmarshal(text, &seen)
}

func (a *agent) remember(seen map[string]time.Time) error {
	if a.state == "" {
		return nil
	}
	text, err := json.Marshal(seen)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(a.state), 0o700); err != nil {
		return err
	}
	return os.WriteFile(a.state, text, 0o600)
}
