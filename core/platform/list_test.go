package platform

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A shelf is an agent that lists what it is given.
type shelf struct {
	core.Agent
	name  string
	items []item
}

type item struct {
	core.Backup
	err error
}

func (s *shelf) Name() string { return s.name }

func (s *shelf) List(context.Context) iter.Seq2[core.Backup, error] {
	return func(yield func(core.Backup, error) bool) {
		for _, i := range s.items {
			if !yield(i.Backup, i.err) {
				return
			}
		}
	}
}

func backup(id, job string, at int64, bytes string) item {
	return item{Backup: core.Backup{ID: core.ID(id), Job: job, Created: time.Unix(at, 0), SHA256: bytes, TOC: &core.TOC{}}}
}

func TestListMerges(t *testing.T) {
	bad := core.Errorf(core.ErrDamaged, "metadata")
	down := core.Errorf(core.ErrUnavailable, "down")
	newer := core.Errorf(core.ErrUnsupported, "schema 2")
	busy := core.Errorf(core.ErrThrottled, "slow down")
	p := &Platform{Agents: []core.Agent{
		&shelf{name: "one", items: []item{backup("a", "", 1, "x"), backup("b", "", 2, "other"), {core.Backup{ID: "c"}, bad}, {core.Backup{ID: "d"}, newer}}},
		&shelf{name: "two", items: []item{backup("a", "", 1, "x"), backup("b", "", 2, "y"), backup("c", "", 3, "z"), {core.Backup{ID: "d"}, busy}}},
		&shelf{name: "three", items: []item{backup("b", "", 2, "y"), {core.Backup{}, down}}},
	}}
	l := p.List(t.Context())
	var got []string
	for _, r := range l.Rows {
		got = append(got, fmt.Sprintf("%s=%s/%s/%s/%s", r.Backup.ID, r.Backup.SHA256, r.Copies["one"], r.Copies["two"], r.Copies["three"]))
	}
	want := "a=x/stored/stored/unknown b=y/differs/stored/stored c=z/damaged/stored/unknown d=/unknown/unknown/unknown"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
	if len(l.Errors) != 1 || !errors.Is(l.Err(), core.ErrUnavailable) || !errors.Is(l.Rows[2].Errors["one"], core.ErrDamaged) {
		t.Errorf("errors: %v, %v", l.Errors, l.Rows[2].Errors)
	}
	if errs := l.Rows[3].Errors; !errors.Is(errs["one"], newer) || !errors.Is(errs["two"], busy) || len(errs) != 2 {
		t.Errorf("why they are unknown: %v", errs)
	}
}

func TestLatest(t *testing.T) {
	bad := core.Errorf(core.ErrDamaged, "metadata")
	down := core.Errorf(core.ErrUnavailable, "down")
	a, b := backup("a", "web", 5, "x"), backup("b", "web", 4, "x")
	other := backup("o", "mail", 9, "x")
	const before, after = core.ID("19691231T235959Z-mzxw6ytboi4dk"), core.ID("19700101T000004Z-mzxw6ytboi4dk")
	for name, c := range map[string]struct {
		items  []item
		job    string
		want   core.ID
		unread error
		err    error
	}{
		"newest by time":     {[]item{a, b}, "", "a", nil, nil},
		"of a job":           {[]item{a, b, other}, "web", "a", nil, nil},
		"a file as it is":    {[]item{b, {Backup: core.Backup{ID: "u", Job: "web", Created: time.Unix(9, 0)}}}, "", "b", nil, nil},
		"several jobs":       {[]item{a, other}, "", "", nil, core.ErrInvalid},
		"none":               {nil, "", "", nil, core.ErrNotFound},
		"none of the job":    {[]item{a}, "x", "", nil, core.ErrNotFound},
		"damaged, no time":   {[]item{b, {core.Backup{ID: "z"}, bad}}, "", "b", bad, nil},
		"damaged, newer":     {[]item{b, {core.Backup{ID: after}, bad}}, "", "b", bad, nil},
		"damaged, older":     {[]item{b, {core.Backup{ID: before}, bad}}, "", "b", nil, nil},
		"nothing else":       {[]item{{core.Backup{ID: before}, bad}}, "", "", bad, bad},
		"agent down":         {[]item{{core.Backup{}, down}}, "", "", down, down},
		"what could be read": {[]item{b, {core.Backup{}, down}}, "", "b", down, nil},
	} {
		p := &Platform{Agents: []core.Agent{&shelf{name: "one", items: c.items}}}
		if got, unread, err := p.Latest(t.Context(), c.job); got != c.want || !errors.Is(unread, c.unread) || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %v, %v; want %q, %v, %v", name, got, unread, err, c.want, c.unread, c.err)
		}
	}
}

// TestLatestElsewhere has what one agent cannot read at another.
func TestLatestElsewhere(t *testing.T) {
	a := backup("a", "web", 5, "x")
	p := &Platform{Agents: []core.Agent{
		&shelf{name: "one", items: []item{{core.Backup{ID: "a"}, core.Errorf(core.ErrDamaged, "metadata")}}},
		&shelf{name: "two", items: []item{a}},
	}}
	if got, unread, err := p.Latest(t.Context(), ""); got != "a" || unread != nil || err != nil {
		t.Errorf("%q, %v, %v", got, unread, err)
	}
}

// TestListDoesNotWait lists with an agent that never answers.
func TestListDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := &broken{Agent: &shelf{name: "stuck"}, list: func(ctx context.Context) iter.Seq2[core.Backup, error] {
			return func(yield func(core.Backup, error) bool) {
				<-ctx.Done()
				yield(core.Backup{}, context.Cause(ctx))
			}
		}}
		p := &Platform{Agents: []core.Agent{stuck, &shelf{name: "one", items: []item{backup("a", "", 1, "x")}}}}
		began := time.Now()
		l := p.List(t.Context())
		if len(l.Rows) != 1 || l.Rows[0].Copies["stuck"] != Unknown || !errors.Is(l.Errors["stuck"], core.ErrUnavailable) {
			t.Errorf("listed %+v, %v", l.Rows, l.Errors)
		}
		if took := time.Since(began); took != listIdle {
			t.Errorf("waited %v, want %v", took, listIdle)
		}
	})
}

func TestGetAndDelete(t *testing.T) {
	w := newWorld(t)
	report, err := w.Run(t.Context(), w.job())
	if err != nil {
		t.Fatal(err)
	}
	id := report.Backup.ID
	if row, err := w.Get(t.Context(), id); err != nil || row.Copies["one"] != Stored || row.Backup.Entries == 0 {
		t.Errorf("get: %+v, %v", row, err)
	}
	if err := w.Agents[0].Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if row, err := w.Get(t.Context(), id); err != nil || row.Copies["one"] != Missing || row.Copies["two"] != Stored {
		t.Errorf("get of what one has: %+v, %v", row, err)
	}
	if _, err := w.Delete(t.Context(), id); err != nil {
		t.Errorf("delete of what one has: %v", err)
	}
	if _, err := w.Delete(t.Context(), id); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("second delete: %v", err)
	}
	if _, err := w.Get(t.Context(), id); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("get after delete: %v", err)
	}
	for _, err := range []error{second(w.Get(t.Context(), "../x")), second(w.Delete(t.Context(), "../x")), second(w.Archive(t.Context(), "../x"))} {
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("a hostile id: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
