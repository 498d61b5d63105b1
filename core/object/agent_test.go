package object

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

const id = core.ID("20261123T045900Z-mzxw6ytboi4dk")

func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

// source is a backup of bytes; broken says what is wrong with its metadata.
func source(t *testing.T, id core.ID, body []byte) *core.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive.tar.zst")
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := core.ArchiveKey(id, ".tar.zst")
	if err != nil {
		t.Fatal(err)
	}
	src, err := core.OpenFile(path, core.Backup{ID: id, Archive: key, Created: time.Unix(1, 0)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

func open(t *testing.T, m *memory, env core.Env) *Agent {
	t.Helper()
	env.Name = "mem"
	a := New(m, env)
	t.Cleanup(func() { a.Close() })
	return a
}

func download(t *testing.T, a core.Agent, id core.ID) ([]byte, error) {
	t.Helper()
	ar, err := a.Open(t.Context(), id)
	if err != nil {
		return nil, err
	}
	defer ar.Close()
	r, err := ar.Range(t.Context(), 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func listAll(t *testing.T, a core.Agent) (ids []core.ID, errs []error) {
	t.Helper()
	for b, err := range a.List(t.Context()) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ids = append(ids, b.ID)
	}
	return ids, errs
}

func TestUploadSizes(t *testing.T) {
	for _, summed := range []bool{false, true} {
		for _, n := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 300 << 10} {
			m := newMemory()
			m.summed = summed
			a := open(t, m, core.Env{})
			body := content(uint64(n), n)
			if err := a.Upload(t.Context(), source(t, id, body)); err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			got, err := download(t, a, id)
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("%d bytes: downloaded %d other bytes, %v", n, len(got), err)
			}
			if len(m.uploads) != 0 {
				t.Fatalf("%d bytes: an upload in parts is left", n)
			}
			if err := a.Upload(t.Context(), source(t, id, body)); err != nil {
				t.Fatalf("%d bytes again: %v", n, err)
			}
			if err := a.Upload(t.Context(), source(t, id, append(body, 1))); !errors.Is(err, core.ErrExists) {
				t.Fatalf("other bytes under the same id: %v, want ErrExists", err)
			}
		}
	}
}

// TestEveryAnswerLost loses the answer of each request of an upload once: the
// upload succeeds or fails with that error, never with a false ErrExists, and
// the same call again succeeds.
func TestEveryAnswerLost(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		for _, summed := range []bool{false, true} {
			for _, n := range []int{1000, 200 << 10} {
				for k := 1; ; k++ {
					if !loseAnswer(t, k, n, when, summed) {
						break
					}
				}
			}
		}
	}
}

func loseAnswer(t *testing.T, k, n int, when string, summed bool) (fired bool) {
	m := newMemory()
	m.summed = summed
	lost := errors.New("answer lost")
	count, what := 0, ""
	lose := func(request string) error {
		if count++; count == k {
			fired, what = true, request
			return &core.Error{Kind: core.ErrUnavailable, Err: lost}
		}
		return nil
	}
	if when == "before" {
		m.before = lose
	} else {
		m.after = lose
	}
	a := open(t, m, core.Env{})
	body := content(uint64(k), n)
	err := a.Upload(t.Context(), source(t, id, body))
	if err != nil && !errors.Is(err, lost) {
		t.Fatalf("%s %s of request %d (%s): %v", when, what, k, what, err)
	}
	m.before, m.after = nil, nil
	ids, errs := listAll(t, a)
	if len(errs) > 0 {
		t.Fatalf("%s %s: list: %v", when, what, errs)
	}
	if err == nil && len(ids) != 1 {
		t.Fatalf("%s %s: success and %d backups listed", when, what, len(ids))
	}
	if err := a.Upload(t.Context(), source(t, id, body)); err != nil {
		t.Fatalf("%s %s: again: %v", when, what, err)
	}
	if got, err := download(t, a, id); err != nil || !bytes.Equal(got, body) {
		t.Fatalf("%s %s: download: %v", when, what, err)
	}
	return fired
}

// TestAwayAfterKill goes on with an upload that was killed between archive and
// metadata, and the place goes away after each request: nobody knows then that the
// archive is another's.
func TestAwayAfterKill(t *testing.T) {
	for _, summed := range []bool{false, true} {
		for _, n := range []int{1000, 200 << 10} {
			for k := 0; awayAfterKill(t, k, n, summed); k++ {
			}
		}
	}
}

func awayAfterKill(t *testing.T, k, n int, summed bool) (away bool) {
	m := newMemory()
	m.summed = summed
	m.before = func(request string) error {
		if strings.HasPrefix(request, "put meta/") {
			return core.Errorf(core.ErrUnavailable, "killed")
		}
		return nil
	}
	a, body := open(t, m, core.Env{}), content(8, n)
	if err := a.Upload(t.Context(), source(t, id, body)); err == nil || len(m.keys()) != 1 {
		t.Fatalf("killed: %v, %q", err, m.keys())
	}
	count, gone := 0, core.Errorf(core.ErrUnavailable, "away")
	m.before = func(string) error {
		if count++; count > k {
			away = true
			return gone
		}
		return nil
	}
	if err := a.Upload(t.Context(), source(t, id, body)); away && (!errors.Is(err, core.ErrUnavailable) || errors.Is(err, core.ErrExists)) {
		t.Errorf("%d bytes, away after %d: %v", n, k, err)
	}
	m.before = nil
	if err := a.Upload(t.Context(), source(t, id, body)); err != nil {
		t.Errorf("%d bytes, away after %d and back: %v", n, k, err)
	}
	return away
}

// TestKilledAnywhere stops the world after each request of an upload: nothing is
// listed unless whole, and the same upload again sends no part twice.
func TestKilledAnywhere(t *testing.T) {
	body := content(7, 400<<10)
	for k := 1; ; k++ {
		m := newMemory()
		count, fired := 0, false
		m.before = func(string) error {
			if count++; count > k {
				fired = true
				return core.Errorf(core.ErrUnavailable, "killed")
			}
			return nil
		}
		a := open(t, m, core.Env{})
		a.Upload(t.Context(), source(t, id, body))
		m.before = nil
		whole := slices.Contains(m.keys(), "meta/"+string(id)+".json")
		if ids, errs := listAll(t, a); len(errs) > 0 || (len(ids) == 1) != whole {
			t.Fatalf("killed after %d: listed %v, %v", k, ids, errs)
		}
		sent := 0
		for _, p := range m.uploads {
			sent += len(p.have)
		}
		m.asked()
		if err := a.Upload(t.Context(), source(t, id, body)); err != nil {
			t.Fatalf("killed after %d: again: %v", k, err)
		}
		again := 0
		for _, r := range m.asked() {
			if strings.HasPrefix(r, "part ") {
				again++
			}
		}
		if again > 0 && sent+again != 7 {
			t.Fatalf("killed after %d: %d parts were there, %d sent again of 7", k, sent, again)
		}
		if len(m.uploads) != 0 && sent > 0 {
			t.Fatalf("killed after %d: uploads in parts are left", k)
		}
		if got, err := download(t, a, id); err != nil || !bytes.Equal(got, body) {
			t.Fatalf("killed after %d: %v", k, err)
		}
		if !fired {
			return
		}
	}
}

func TestDeleteKilledAnywhere(t *testing.T) {
	for k := 0; ; k++ {
		m := newMemory()
		state := t.TempDir()
		a := open(t, m, core.Env{StateDir: state})
		if err := a.Upload(t.Context(), source(t, id, content(1, 1000))); err != nil {
			t.Fatal(err)
		}
		count, fired := 0, false
		m.before = func(string) error {
			if count++; count > k {
				fired = true
				return core.Errorf(core.ErrUnavailable, "killed")
			}
			return nil
		}
		err := a.Delete(t.Context(), id)
		m.before = nil
		ids, errs := listAll(t, a)
		if len(errs) > 0 {
			t.Fatalf("killed after %d: a backup that cannot be read is listed: %v", k, errs)
		}
		if len(ids) == 1 {
			if got, err := download(t, a, id); err != nil || len(got) != 1000 {
				t.Fatalf("killed after %d: %v", k, err)
			}
		}
		if !fired {
			if err != nil || len(ids) != 0 || !slices.Equal(m.keys(), []string{"gone/" + string(id)}) {
				t.Fatalf("deleted: %v, %v, %v", err, ids, m.keys())
			}
			if err := a.Delete(t.Context(), id); !errors.Is(err, core.ErrNotFound) {
				t.Fatalf("second delete: %v", err)
			}
			if err := a.Upload(t.Context(), source(t, id, content(1, 1000))); !errors.Is(err, core.ErrExists) {
				t.Fatalf("upload of a deleted id: %v", err)
			}
			return
		}
	}
}

// TestGoneMeanwhile deletes an id between an upload's first look and its commit.
func TestGoneMeanwhile(t *testing.T) {
	m := newMemory()
	a := open(t, m, core.Env{})
	m.after = func(request string) error {
		if request == "put data/"+string(id)+".tar.zst" {
			if _, err := m.create("gone/"+string(id), "", []byte("{}")); err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	if err := a.Upload(t.Context(), source(t, id, content(1, 10))); !errors.Is(err, core.ErrExists) {
		t.Fatalf("upload: %v, want ErrExists", err)
	}
	if want := []string{"gone/" + string(id)}; !slices.Equal(m.keys(), want) {
		t.Fatalf("left: %v, want %v", m.keys(), want)
	}
}

func TestDamage(t *testing.T) {
	meta, data := "meta/"+string(id)+".json", "data/"+string(id)+".tar.zst"
	for name, harm := range map[string]func(m *memory){
		"flip in the archive": func(m *memory) { s := m.objects[data]; s.body[70000] ^= 1 },
		"archive cut":         func(m *memory) { m.set(data, m.objects[data].body[:999]) },
		"archive longer":      func(m *memory) { m.set(data, append(m.objects[data].body, 0)) },
		"archive gone":        func(m *memory) { delete(m.objects, data) },
		"metadata empty":      func(m *memory) { m.set(meta, nil) },
		"metadata cut":        func(m *memory) { m.set(meta, m.objects[meta].body[:100]) },
		"metadata of another": func(m *memory) {
			m.set(meta, bytes.ReplaceAll(m.objects[meta].body, []byte("mzxw6"), []byte("aaaaa")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			a := open(t, m, core.Env{})
			if err := a.Upload(t.Context(), source(t, id, content(1, 200<<10))); err != nil {
				t.Fatal(err)
			}
			other := core.ID("20261123T045901Z-mzxw6ytboi4dk")
			if err := a.Upload(t.Context(), source(t, other, content(2, 10))); err != nil {
				t.Fatal(err)
			}
			harm(m)
			if _, err := download(t, a, id); !errors.Is(err, core.ErrDamaged) {
				t.Errorf("download: %v, want ErrDamaged", err)
			}
			ids, errs := listAll(t, a)
			if name == "flip in the archive" {
				return // the size is right: a list does not read archives
			}
			if !slices.Equal(ids, []core.ID{other}) || len(errs) != 1 || !errors.Is(errs[0], core.ErrDamaged) {
				t.Errorf("list: %v, %v", ids, errs)
			}
			if err := a.Delete(t.Context(), id); err != nil {
				t.Errorf("delete of a damaged backup: %v", err)
			}
			if left := m.keys(); slices.Contains(left, data) || slices.Contains(left, meta) {
				t.Errorf("left after delete: %v", left)
			}
		})
	}
}

func (m *memory) set(key string, body []byte) {
	delete(m.objects, key)
	m.create(key, "", body)
}

func TestRanges(t *testing.T) {
	m := newMemory()
	a := open(t, m, core.Env{})
	body := content(3, 40<<20) // three chunks
	if err := a.Upload(t.Context(), source(t, id, body)); err != nil {
		t.Fatal(err)
	}
	ar, err := a.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	read := func(off, n int64) ([]byte, error) {
		r, err := ar.Range(t.Context(), off, n)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	size := int64(len(body))
	for _, r := range [][2]int64{{0, 0}, {0, 1}, {5, 100}, {16 << 20, 16 << 20}, {1, 33 << 20}, {0, -1}, {size, 0}, {size, -1}, {size - 1, 1}} {
		n := r[1]
		if n < 0 {
			n = size - r[0]
		}
		if got, err := read(r[0], r[1]); err != nil || !bytes.Equal(got, body[r[0]:r[0]+n]) {
			t.Errorf("range %v: %d bytes, %v", r, len(got), err)
		}
	}
	for _, r := range [][2]int64{{-1, 1}, {0, size + 1}, {size, 1}, {size + 1, -1}, {1, 1<<63 - 1}} {
		if _, err := read(r[0], r[1]); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("range %v: %v, want ErrInvalid", r, err)
		}
	}
	m.objects["data/"+string(id)+".tar.zst"].body[17<<20] ^= 1
	if _, err := read(16<<20, 16<<20); !errors.Is(err, core.ErrDamaged) {
		t.Errorf("a chunk with a flipped bit: %v, want ErrDamaged", err)
	}
	if _, err := read(0, 16<<20); err != nil {
		t.Errorf("a sound chunk beside it: %v", err)
	}
	m.set("data/"+string(id)+".tar.zst", body)
	if _, err := read(0, 10); !errors.Is(err, core.ErrChanged) {
		t.Errorf("another version: %v, want ErrChanged", err)
	}
}

func TestSweep(t *testing.T) {
	m := newMemory()
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	env := core.Env{StateDir: t.TempDir(), Now: func() time.Time { return now }}
	a := open(t, m, env)
	if err := a.Upload(t.Context(), source(t, "kept", content(1, 10))); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"data/mine.bin", "data/others.bin", "stray", "data/dir/x", "meta/x y.json"} {
		m.set(key, []byte("x"))
	}
	for _, key := range []string{"data/mine2.bin", "data/others2.bin"} {
		if _, err := m.Begin(t.Context(), key, "token-"+key); err != nil {
			t.Fatal(err)
		}
	}
	sweep := func() (removed, stay []string) {
		t.Helper()
		own := func(id core.ID) bool { return strings.HasPrefix(string(id), "mine") }
		for l, err := range a.Sweep(t.Context(), own) {
			if err != nil {
				t.Fatal(err)
			}
			if l.Removed {
				removed = append(removed, l.Key)
			} else {
				stay = append(stay, l.Key)
			}
		}
		slices.Sort(removed)
		slices.Sort(stay)
		return removed, stay
	}
	expect := func(wantRemoved, wantStay string) {
		t.Helper()
		removed, stay := sweep()
		if got := strings.Join(removed, " "); got != wantRemoved {
			t.Errorf("removed %q, want %q", got, wantRemoved)
		}
		if got := strings.Join(stay, " "); got != wantStay {
			t.Errorf("left %q, want %q", got, wantStay)
		}
	}
	expect("data/mine.bin data/mine2.bin", "data/others.bin data/others2.bin")
	now = now.Add(6 * 24 * time.Hour)
	expect("", "data/others.bin data/others2.bin")
	m.set("data/others.bin", []byte("y")) // somebody works on it
	now = now.Add(2 * 24 * time.Hour)
	expect("data/others2.bin", "data/others.bin")
	if want := "data/dir/x data/kept.tar.zst data/others.bin meta/kept.json meta/x y.json stray"; strings.Join(m.keys(), " ") != want {
		t.Errorf("at the place: %v, want %v", m.keys(), want)
	}
}

func TestSweepMarks(t *testing.T) {
	m := newMemory()
	now := time.Now()
	a := open(t, m, core.Env{Now: func() time.Time { return now }})
	if err := a.Upload(t.Context(), source(t, id, nil)); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for _, days := range []int{0, 364, 366} {
		now = time.Now().AddDate(0, 0, days)
		for _, err := range a.Sweep(t.Context(), nil) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if has, want := len(m.keys()) == 1, days < 365; has != want {
			t.Errorf("after %d days the mark is there: %v, want %v", days, has, want)
		}
	}
}

func TestSourceErrors(t *testing.T) {
	broken := errors.New("the source broke")
	body := content(1, 300<<10)
	for _, at := range []int64{0, 1, 64 << 10, 299 << 10} {
		m := newMemory()
		a := open(t, m, core.Env{})
		err := a.Upload(t.Context(), &brokenSource{source(t, id, body), at, broken})
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "mem: upload: "+string(id)) {
			t.Errorf("at %d: %v", at, err)
		}
		if len(m.keys()) != 0 || len(m.uploads) != 0 {
			t.Errorf("at %d: left %v and %d uploads", at, m.keys(), len(m.uploads))
		}
	}
}

type brokenSource struct {
	core.Source
	at  int64
	err error
}

func (s *brokenSource) Reader(ctx context.Context) io.ReaderAt {
	return readerAt(func(p []byte, off int64) (int, error) {
		if off+int64(len(p)) > s.at {
			n := max(0, s.at-off)
			m, _ := s.Source.Reader(ctx).ReadAt(p[:min(n, int64(len(p)))], off)
			return m, s.err
		}
		return s.Source.Reader(ctx).ReadAt(p, off)
	})
}

type readerAt func(p []byte, off int64) (int, error)

func (f readerAt) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

// TestDeadAgentLeaves fails a part while the source has no more bytes yet: the
// upload ends and does not wait for the source.
func TestDeadAgentLeaves(t *testing.T) {
	m := newMemory()
	m.before = func(request string) error {
		if strings.HasPrefix(request, "part ") {
			return core.Errorf(core.ErrNoSpace, "full")
		}
		return nil
	}
	a := open(t, m, core.Env{})
	src := &brokenSource{source(t, id, content(1, 300<<10)), 0, nil}
	err := a.Upload(t.Context(), &stuckSource{src.Source, 200 << 10})
	if !errors.Is(err, core.ErrNoSpace) {
		t.Fatalf("upload: %v, want ErrNoSpace", err)
	}
}

// A stuckSource has no bytes from a place on, until the reader leaves.
type stuckSource struct {
	core.Source
	at int64
}

func (s *stuckSource) Reader(ctx context.Context) io.ReaderAt {
	return readerAt(func(p []byte, off int64) (int, error) {
		if off+int64(len(p)) > s.at {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}
		return s.Source.Reader(ctx).ReadAt(p, off)
	})
}

func TestClose(t *testing.T) {
	m := newMemory()
	a := open(t, m, core.Env{})
	ended := make(chan error, 1)
	started := make(chan struct{})
	m.before = func(request string) error {
		if strings.HasPrefix(request, "begin ") {
			close(started)
		}
		return nil
	}
	go func() {
		ended <- a.Upload(context.Background(), &stuckSource{source(t, id, content(1, 300<<10)), 200 << 10})
	}()
	<-started
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, core.ErrClosed) {
		t.Errorf("the running upload: %v, want ErrClosed", err)
	}
	if err := a.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if _, err := a.Get(t.Context(), id); !errors.Is(err, core.ErrClosed) {
		t.Errorf("get after close: %v", err)
	}
	for _, err := range a.List(t.Context()) {
		if !errors.Is(err, core.ErrClosed) {
			t.Errorf("list after close: %v", err)
		}
	}
}
