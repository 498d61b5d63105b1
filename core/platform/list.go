package platform

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// listIdle is how long a list waits for an agent that says nothing.
const listIdle = 30 * time.Second

// List returns what all agents hold. They are asked at once, and one that does
// not answer holds the others up for no longer than half a minute.
func (p *Platform) List(ctx context.Context) Listing {
	held := make([]held, len(p.Agents))
	var all sync.WaitGroup
	for i, a := range p.Agents {
		all.Go(func() { held[i] = holdings(ctx, a) })
	}
	all.Wait()
	return merge(held)
}

// Get returns one backup over all agents, with the errors of those that could not
// be asked; ErrNotFound when no agent that could be asked has it.
func (p *Platform) Get(ctx context.Context, id core.ID) (Row, error) {
	if err := id.Validate(); err != nil {
		return Row{}, err
	}
	all := make([]held, len(p.Agents))
	var asked sync.WaitGroup
	for i, a := range p.Agents {
		asked.Go(func() {
			all[i] = held{agent: a.Name()}
			switch b, err := a.Get(ctx, id); {
			case err == nil:
				all[i].backups = map[core.ID]holding{id: {backup: b}}
			case errors.Is(err, core.ErrDamaged) || errors.Is(err, core.ErrUnsupported):
				all[i].backups = map[core.ID]holding{id: {err: err}}
			case !errors.Is(err, core.ErrNotFound):
				all[i].err = err
			}
		})
	}
	asked.Wait()
	l := merge(all)
	if len(l.Rows) == 1 {
		maps.Copy(l.Rows[0].Errors, l.Errors)
		return l.Rows[0], nil
	}
	return Row{}, p.nowhere(id, l.Err(), len(l.Errors))
}

// nowhere says that no agent has a backup, and which of them could not be asked.
func (p *Platform) nowhere(id core.ID, unasked error, n int) error {
	if n == len(p.Agents) {
		return unasked
	}
	return errors.Join(core.Errorf(core.ErrNotFound, "no backup %s at %s", id, strings.Join(names(p.Agents), ", ")), unasked)
}

// Latest returns the newest backup that some agent can give and that can be
// restored, of a job where one is named. A file that was uploaded as it is cannot. Where several jobs have backups one must be: ErrInvalid. unread says
// what could not be read, so that there may be a newer one.
func (p *Platform) Latest(ctx context.Context, job string) (id core.ID, unread, err error) {
	l := p.List(ctx)
	jobs := map[string]bool{}
	var newest core.Backup
	for _, row := range l.Rows {
		if !row.readable() || row.Backup.TOC == nil || job != "" && row.Backup.Job != job {
			continue
		}
		jobs[row.Backup.Job] = true
		if newest.ID == "" || !row.Backup.Created.Before(newest.Created) {
			newest = row.Backup
		}
	}
	unread = errors.Join(l.Err(), l.unreadSince(newest.Created))
	switch {
	case len(jobs) > 1:
		return "", unread, core.Errorf(core.ErrInvalid, "there are backups of several jobs, name one: %s", quoteAll(slices.Sorted(maps.Keys(jobs))))
	case newest.ID != "":
		return newest.ID, unread, nil
	case unread != nil:
		return "", unread, unread
	case job != "":
		return "", nil, core.Errorf(core.ErrNotFound, "no backup of job %q at %s", job, strings.Join(names(p.Agents), ", "))
	}
	return "", nil, core.Errorf(core.ErrNotFound, "no backup at %s", strings.Join(names(p.Agents), ", "))
}

// readable says whether some agent can give the backup.
func (r Row) readable() bool {
	return slices.Contains(slices.Collect(maps.Values(r.Copies)), Stored)
}

// unreadSince joins the errors of backups that no agent can give, but for those
// whose id says that they are older.
func (l Listing) unreadSince(t time.Time) error {
	var errs []error
	for _, row := range l.Rows {
		if at, ok := row.Backup.ID.Time(); row.readable() || ok && at.Before(t.Truncate(time.Second)) {
			continue
		}
		for _, agent := range slices.Sorted(maps.Keys(row.Errors)) {
			errs = append(errs, row.Errors[agent])
		}
	}
	return errors.Join(errs...)
}

func quoteAll(words []string) string {
	for i, w := range words {
		words[i] = fmt.Sprintf("%q", w)
	}
	return strings.Join(words, ", ")
}

// Err joins the errors of agents that could not be read.
func (l Listing) Err() error {
	var errs []error
	for _, agent := range slices.Sorted(maps.Keys(l.Errors)) {
		errs = append(errs, l.Errors[agent])
	}
	return errors.Join(errs...)
}

// held is what one agent holds.
type held struct {
	agent   string
	backups map[core.ID]holding
	err     error // why the list is not complete
}

type holding struct {
	backup core.Backup
	err    error // why it cannot be read
}

func holdings(ctx context.Context, a core.Agent) held {
	h := held{agent: a.Name(), backups: map[core.ID]holding{}}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := core.Errorf(core.ErrUnavailable, "%s: list: nothing came for %v", a.Name(), listIdle)
	watch := time.AfterFunc(listIdle, func() { cancel(silent) })
	defer watch.Stop()
	for b, err := range a.List(ctx) {
		watch.Reset(listIdle)
		if err != nil && b.ID == "" {
			h.err = err
			break
		}
		h.backups[b.ID] = holding{b, err}
	}
	return h
}

func merge(all []held) Listing {
	l := Listing{Errors: map[string]error{}}
	ids := map[core.ID]bool{}
	for _, h := range all {
		if h.err != nil {
			l.Errors[h.agent] = h.err
		}
		for id := range h.backups {
			ids[id] = true
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(ids), core.ID.Compare) {
		l.Rows = append(l.Rows, row(id, all))
	}
	return l
}

// row puts one backup's copies side by side.
func row(id core.ID, all []held) Row {
	r := Row{Backup: usual(id, all), Copies: map[string]Copy{}, Errors: map[string]error{}}
	for _, h := range all {
		got, ok := h.backups[id]
		switch {
		case !ok && h.err != nil:
			r.Copies[h.agent] = Unknown
		case !ok:
			r.Copies[h.agent] = Missing
		case errors.Is(got.err, core.ErrDamaged):
			r.Copies[h.agent], r.Errors[h.agent] = Damaged, got.err
		case got.err != nil:
			r.Copies[h.agent], r.Errors[h.agent] = Unknown, got.err
		case !sameBytes(got.backup, r.Backup):
			r.Copies[h.agent] = Differs
		default:
			r.Copies[h.agent] = Stored
		}
	}
	return r
}

// usual is the metadata that most agents have, of several the first agent's.
func usual(id core.ID, all []held) core.Backup {
	best, most := core.Backup{ID: id}, 0
	for _, h := range all {
		got, ok := h.backups[id]
		if !ok || got.err != nil {
			continue
		}
		same := 0
		for _, other := range all {
			if o, ok := other.backups[id]; ok && o.err == nil && sameBytes(o.backup, got.backup) {
				same++
			}
		}
		if same > most {
			best, most = got.backup, same
		}
	}
	return best
}

func sameBytes(a, b core.Backup) bool { return a.Size == b.Size && a.SHA256 == b.SHA256 }

// Delete removes a backup from every agent that has it; ErrNotFound when no agent
// that could be asked has it.
func (p *Platform) Delete(ctx context.Context, id core.ID) ([]core.AgentResult, error) {
	if err := id.Validate(); err != nil {
		return nil, err
	}
	results := make([]core.AgentResult, len(p.Agents))
	var all sync.WaitGroup
	for i, a := range p.Agents {
		all.Go(func() {
			results[i] = core.AgentResult{Agent: a.Name(), State: core.Missing, Err: a.Delete(ctx, id)}
		})
	}
	all.Wait()
	var errs []error
	deleted := false
	for i := range results {
		switch err := results[i].Err; {
		case err == nil:
			deleted = true
		case !errors.Is(err, core.ErrNotFound):
			results[i].State = core.Stored
			errs = append(errs, err)
		}
	}
	if !deleted {
		return results, p.nowhere(id, errors.Join(errs...), len(errs))
	}
	return results, errors.Join(errs...)
}
