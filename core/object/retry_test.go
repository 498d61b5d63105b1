package object

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// overNetwork is the agent of a store that is tried again.
func overNetwork(t *testing.T, m *memory) *Agent {
	env := core.Env{Name: "mem"}
	a := New(Retry(m, env), env)
	t.Cleanup(func() { a.Close() })
	return a
}

// Whatever request fails once, or loses its answer once, nobody notices.
func TestEveryRequestFailsOnce(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		for _, summed := range []bool{false, true} {
			for _, n := range []int{0, 1000, 200 << 10} {
				for k := 1; failOnce(t, when, summed, n, k); k++ {
				}
			}
		}
	}
}

func failOnce(t *testing.T, when string, summed bool, n, k int) (fired bool) {
	body := content(uint64(n), n)
	src := source(t, id, body) // before the bubble: it has a goroutine of its own
	if _, err := src.Backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.summed = summed
		count, what := 0, ""
		fail := func(request string) error {
			if count++; count == k {
				fired, what = true, request
				return core.Errorf(core.ErrUnavailable, "lost")
			}
			return nil
		}
		if when == "before" {
			m.before = fail
		} else {
			m.after = fail
		}
		a := overNetwork(t, m)
		if err := a.Upload(t.Context(), src); err != nil {
			t.Fatalf("%d bytes, %s %q: upload: %v", n, when, what, err)
		}
		if ids, errs := listAll(t, a); len(errs) > 0 || !slices.Equal(ids, []core.ID{id}) {
			t.Fatalf("%d bytes, %s %q: list: %v, %v", n, when, what, ids, errs)
		}
		if got, err := download(t, a, id); err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%d bytes, %s %q: download: %v", n, when, what, err)
		}
		if len(m.uploads) != 0 {
			t.Fatalf("%d bytes, %s %q: parts are left", n, when, what)
		}
		if err := a.Delete(t.Context(), id); err != nil {
			t.Fatalf("%d bytes, %s %q: delete: %v", n, when, what, err)
		}
		if keys := m.keys(); !slices.Equal(keys, []string{goneKey(id)}) {
			t.Fatalf("%d bytes, %s %q: %q are left", n, when, what, keys)
		}
	})
	return fired
}

// TestOutage is a place that answers nothing any more: what the upload has sent
// stays for a later one.
func TestOutage(t *testing.T) {
	src := source(t, id, content(1, 300<<10))
	if _, err := src.Backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		parts := 0
		m.before = func(request string) error {
			if strings.HasPrefix(request, "part ") {
				parts++
			}
			if parts > 2 {
				return core.Errorf(core.ErrUnavailable, "nobody there")
			}
			return nil
		}
		a, begin := overNetwork(t, m), time.Now()
		err := a.Upload(t.Context(), src)
		if took := time.Since(begin); !errors.Is(err, core.ErrUnavailable) || took < 2*time.Minute || took > 5*time.Minute {
			t.Errorf("%v after %v", err, took)
		}
		if m.before = nil; len(m.uploads) != 1 {
			t.Fatalf("%d uploads in parts are kept", len(m.uploads))
		}
		m.asked()
		if err := a.Upload(t.Context(), src); err != nil {
			t.Fatal(err)
		}
		sent := slices.DeleteFunc(m.asked(), func(r string) bool { return !strings.HasPrefix(r, "part ") })
		if len(sent) != 3 {
			t.Errorf("sent %q, two of five were there", sent)
		}
	})
}

// TestTotal is an upload that gets on, and not fast enough.
func TestTotal(t *testing.T) {
	src := source(t, id, content(1, 300<<10))
	if _, err := src.Backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		env := core.Env{Name: "mem", Patience: core.Patience{Total: 40 * time.Second}}
		a := New(Retry(slowly{m}, env), env)
		defer a.Close()
		begin := time.Now()
		err := a.Upload(t.Context(), src)
		if took := time.Since(begin); !errors.Is(err, core.ErrUnavailable) || !strings.Contains(err.Error(), "not through after 40s") || took != 40*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// slowly is a place that takes a quarter of a minute to look for an object.
type slowly struct{ *memory }

func (s slowly) Stat(ctx context.Context, key string) (Object, error) {
	select {
	case <-time.After(15 * time.Second):
		return s.memory.Stat(ctx, key)
	case <-ctx.Done():
		return Object{}, core.Errorf(core.ErrUnavailable, "%w", context.Cause(ctx))
	}
}

// A list that breaks off goes on after the last key.
func TestListGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		var want []string
		for _, key := range []string{"a", "b", "c", "d", "e"} {
			if _, err := m.Put(t.Context(), key, section(key), sum([]byte(key))); err != nil {
				t.Fatal(err)
			}
			want = append(want, key)
		}
		var got []string
		for o, err := range Retry(&breaking{memory: m, every: 2}, core.Env{}).List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, o.Key)
		}
		if !slices.Equal(got, want) {
			t.Errorf("listed %q", got)
		}
		if asked := m.asked(); len(asked) != 5+3 {
			t.Errorf("asked %q", asked)
		}
	})
}

// breaking is a place whose lists break off after some entries.
type breaking struct {
	*memory
	every int
}

func (b *breaking) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		n := 0
		for o, err := range b.memory.List(ctx, prefix, after) {
			if n++; n > b.every {
				yield(Object{}, core.Errorf(core.ErrUnavailable, "the page breaks off"))
				return
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

// Bytes that flip on their way are sent again, and not for ever.
func TestFlippedOnTheWay(t *testing.T) {
	for flips, want := range map[int]core.ErrorKind{0: "", 1: "", 2: "", 3: core.ErrDamaged} {
		m := newMemory()
		store := Retry(&flipping{m, flips}, core.Env{})
		_, err := store.Put(t.Context(), "key", section("body"), sum([]byte("body")))
		if core.KindOf(err) != want {
			t.Errorf("%d flips: %v", flips, err)
		}
		if keys := m.keys(); len(keys) != 1 && want == "" || len(keys) != 0 && want != "" {
			t.Errorf("%d flips: %q", flips, keys)
		}
	}
}

type flipping struct {
	*memory
	times int
}

func (f *flipping) Put(ctx context.Context, key string, r *io.SectionReader, crc core.CRC64) (Object, error) {
	if f.times--; f.times >= 0 {
		return f.memory.Put(ctx, key, section("bodx"), crc)
	}
	return f.memory.Put(ctx, key, r, crc)
}

// TestRetriesAreLogged without anybody being asked to read it.
func TestRetriesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		m, failed := newMemory(), false
		m.before = func(string) error {
			if !failed {
				failed = true
				return core.Errorf(core.ErrUnavailable, "just once")
			}
			return nil
		}
		store := Retry(m, core.Env{Name: "mem", Log: slog.New(slog.NewTextHandler(&log, nil))})
		if _, err := store.Stat(t.Context(), "key"); !errors.Is(err, core.ErrNotFound) {
			t.Fatal(err)
		}
		if line := log.String(); !strings.Contains(line, "agent=mem") || !strings.Contains(line, "just once") {
			t.Errorf("%q", line)
		}
	})
}

// protecting is a place that protects some objects.
type protecting struct {
	*memory
	until map[string]time.Time
}

func (p *protecting) Protected(_ context.Context, key string) (time.Time, error) {
	return p.until[key], nil
}

func TestDeleteAsksFirst(t *testing.T) {
	now := time.Date(2026, 11, 23, 5, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		key   string
		until time.Time
		want  core.ErrorKind
	}{
		"nothing":           {"", time.Time{}, ""},
		"the archive":       {"data/" + string(id) + ".tar.zst", now.Add(time.Hour), core.ErrLocked},
		"the metadata":      {metaKey(id), now.Add(time.Hour), core.ErrLocked},
		"not any more":      {metaKey(id), now.Add(-time.Hour), ""},
		"another's archive": {"data/x.tar.zst", now.Add(time.Hour), ""},
	} {
		m := newMemory()
		p := &protecting{m, map[string]time.Time{test.key: test.until}}
		env := core.Env{Name: "mem", Now: func() time.Time { return now }}
		for over, store := range map[string]Store{"bare": p, "over a network": Retry(p, env)} {
			a := New(store, env)
			m.objects = map[string]stored{}
			if err := a.Upload(t.Context(), source(t, id, content(1, 10))); err != nil {
				t.Fatal(err)
			}
			before := m.keys()
			err := a.Delete(t.Context(), id)
			if core.KindOf(err) != test.want {
				t.Errorf("%s, %s: %v", name, over, err)
			}
			if e := (*core.Error)(nil); test.want != "" && (!errors.As(err, &e) || !e.Until.Equal(test.until) || !strings.Contains(err.Error(), "2026-11-23T06:00:00Z")) {
				t.Errorf("%s, %s: %v", name, over, err)
			}
			if test.want != "" && !slices.Equal(m.keys(), before) {
				t.Errorf("%s, %s: %q became %q", name, over, before, m.keys())
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
