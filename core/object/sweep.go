package object

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/offsite-backup/offsite/core"
)

const (
	// sightings must lie so far apart before what another host left is removed:
	// longer than an upload waits to be gone on with.
	sightings = 7 * 24 * time.Hour
	// goneFor is how long a mark keeps its id from being uploaded again.
	goneFor = 365 * 24 * time.Hour
)

// Sweep yields what interrupted uploads and deletes left, and removes what it may.
func (a *Agent) Sweep(ctx context.Context, own func(core.ID) bool) iter.Seq2[core.Leftover, error] {
	return func(yield func(core.Leftover, error) bool) {
		c, err := a.begin(ctx, opSweep, "")
		if err != nil {
			yield(core.Leftover{}, err)
			return
		}
		defer c.end()
		s := &sweep{call: c, own: own, now: a.env.Now(), seen: map[string]time.Time{}}
		found, err := s.found()
		if err != nil {
			yield(core.Leftover{}, c.error(err))
			return
		}
		for _, f := range found {
			err := s.remove(&f)
			if !yield(f.Leftover, err) {
				return
			}
		}
	}
}

// A sweep is one walk over what belongs to no backup.
type sweep struct {
	*call
	own    func(core.ID) bool
	now    time.Time
	before map[string]time.Time // when earlier sweeps first saw what is still there
	seen   map[string]time.Time // the same, with what this sweep saw
}

// A leftover is one that a sweep found; end, which removes it, is nil where it has
// to stay.
type leftover struct {
	core.Leftover
	end func() error
}

func (s *sweep) remove(l *leftover) error {
	if l.end == nil {
		return nil
	}
	err := l.end()
	l.Removed = err == nil
	s.id = l.ID
	return s.error(err)
}

// found lists all leftovers before any is removed: some places cannot be listed
// and changed at once.
func (s *sweep) found() (all []leftover, err error) {
	if s.before, err = s.load(); err != nil {
		return nil, err
	}
	for _, part := range []func() ([]leftover, error){s.parts, s.archives, s.scratch, s.marks} {
		found, err := part()
		if errors.Is(err, core.ErrNoPlace) {
			return nil, nil // what was seen there before is not forgotten: it may be away
		}
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, s.save()
}

func (s *sweep) parts() (all []leftover, err error) {
	for m, err := range s.agent.store.Multiparts(s, "") {
		if err != nil {
			return nil, err
		}
		id := dataID(m.Key()) + metaID(m.Key()) + goneID(m.Key()) + scratchID(m.Key()) // of one of them
		if id == "" {
			continue
		}
		have, err := m.Parts(s)
		if absent(err) {
			continue // committed or aborted by now
		}
		if err != nil {
			return nil, err
		}
		l := leftover{Leftover: core.Leftover{ID: id, Key: m.Key(), What: "parts", Size: -1}}
		// An upload that has moved since is not the very same.
		if s.may(id, fmt.Sprintf("parts %s %s %s %d", m.Key(), m.Token(), m.Started().UTC().Format(time.RFC3339Nano), len(have))) {
			l.end = func() error { return m.Abort(s) }
		}
		all = append(all, l)
	}
	return all, nil
}

func (s *sweep) archives() (all []leftover, err error) {
	metas := map[core.ID]bool{}
	for o, err := range s.agent.store.List(s, metaPrefix, "") {
		if err != nil {
			return nil, err
		}
		metas[metaID(o.Key)] = true
	}
	for o, err := range s.agent.store.List(s, dataPrefix, "") {
		if err != nil {
			return nil, err
		}
		id := dataID(o.Key)
		if id == "" || metas[id] {
			continue
		}
		// Its metadata may have come between the two lists.
		if _, err := s.agent.store.Stat(s, metaKey(id)); err == nil {
			continue
		} else if !errors.Is(err, core.ErrNotFound) {
			return nil, err
		}
		l := leftover{Leftover: core.Leftover{ID: id, Key: o.Key, What: "archive", Size: o.Size}}
		if s.may(id, "archive "+o.Key+" "+o.Version) {
			l.end = func() error { return s.removeArchive(id, o) }
		}
		all = append(all, l)
	}
	return all, nil
}

// removeArchive looks for the metadata once more: an upload that went on may have
// committed since.
func (s *sweep) removeArchive(id core.ID, o Object) error {
	_, err := s.agent.store.Stat(s, metaKey(id))
	if err == nil {
		return core.Errorf(core.ErrChanged, "%s belongs to a backup by now", o.Key)
	}
	if !errors.Is(err, core.ErrNotFound) {
		return err
	}
	return s.agent.store.Delete(s, o.Key)
}

// scratch are the objects of examinations that were killed.
func (s *sweep) scratch() (all []leftover, err error) {
	for o, err := range s.agent.store.List(s, ScratchPrefix, "") {
		if err != nil {
			return nil, err
		}
		id := scratchID(o.Key)
		if id == "" {
			continue
		}
		l := leftover{Leftover: core.Leftover{ID: id, Key: o.Key, What: "scratch", Size: o.Size}}
		if s.may(id, "scratch "+o.Key+" "+o.Version) {
			l.end = func() error { return s.agent.store.Delete(s, o.Key) }
		}
		all = append(all, l)
	}
	return all, nil
}

// marks are those older than a year, by the date in them: a copy made by hand has
// a date of its own.
func (s *sweep) marks() (all []leftover, err error) {
	for o, err := range s.agent.store.List(s, gonePrefix, "") {
		if err != nil {
			return nil, err
		}
		id := goneID(o.Key)
		if id == "" || o.Size == 0 || o.Size > 1024 || s.now.Sub(o.Modified) < goneFor {
			continue
		}
		doc, err := s.agent.bytes(s, o)
		if err != nil {
			return nil, err
		}
		var mark goneMark
		if json.Unmarshal(doc, &mark) != nil || mark.Deleted.IsZero() || s.now.Sub(mark.Deleted) < goneFor {
			continue
		}
		all = append(all, leftover{
			core.Leftover{ID: id, Key: o.Key, What: "mark", Size: o.Size},
			func() error { return s.agent.store.Delete(s, o.Key) },
		})
	}
	return all, nil
}

// may says whether what goes by this name may be removed, and remembers that it
// was seen.
func (s *sweep) may(id core.ID, name string) bool {
	first, ok := s.before[name]
	if !ok || first.After(s.now) {
		first = s.now
	}
	s.seen[name] = first
	return s.own != nil && s.own(id) || s.now.Sub(first) >= sightings
}

// file is where sightings are kept between sweeps, or "".
func (s *sweep) file() string {
	if s.agent.env.StateDir == "" {
		return ""
	}
	return filepath.Join(s.agent.env.StateDir, "sightings", shortHash(s.agent.Name())+".json")
}

func (s *sweep) load() (map[string]time.Time, error) {
	if s.file() == "" {
		return nil, nil
	}
	doc, err := os.ReadFile(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var before map[string]time.Time
	if err := json.Unmarshal(doc, &before); err != nil {
		s.agent.env.Log.Warn("sightings of leftovers begin anew", "file", s.file(), "error", err)
		return nil, nil
	}
	return before, nil
}

func (s *sweep) save() error {
	if s.file() == "" || maps.Equal(s.before, s.seen) {
		return nil
	}
	doc, err := json.MarshalIndent(s.seen, "", " ")
	if err != nil {
		return err
	}
	return replaceFile(s.file(), doc)
}
