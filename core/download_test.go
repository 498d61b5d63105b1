package core_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/offsite-backup/offsite/core"
)

const chunk = 16 << 20

// threeChunks is an archive of three chunks, the last one shorter.
var threeChunks = sync.OnceValue(func() []byte { return random(3, 2*chunk+chunk/4) })

// target is a path where nothing is, and its partial file for the id a.
func target(t *testing.T) (path, partial string) {
	dir := t.TempDir()
	return filepath.Join(dir, "out.tar"), filepath.Join(dir, ".out.tar.a.partial")
}

func wantFile(t *testing.T, path string, data []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%s has %d bytes, %v; want the %d of the archive", filepath.Base(path), len(got), err, len(data))
	}
}

func wantNoFile(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there: %v", filepath.Base(path), err)
		}
	}
}

func TestDownload(t *testing.T) {
	agent := newMemory()
	sizes := map[core.ID]int{"empty": 0, "byte": 1, "chunk": chunk, "more": chunk + 1}
	for id, size := range sizes {
		data := random(1, size)
		agent.put(t, id, data, func(b *core.Backup) { b.Name = "mine" })
		path, _ := target(t)
		b, err := core.Download(t.Context(), agent, id, path)
		if err != nil || b.ID != id || b.Name != "mine" || b.Size != int64(size) {
			t.Errorf("%s: %+v, %v", id, b, err)
		}
		wantFile(t, path, data)
		if names, err := os.ReadDir(filepath.Dir(path)); len(names) != 1 {
			t.Errorf("%s leaves %v, %v", id, names, err)
		}
		if stat, err := os.Stat(path); err != nil || stat.Mode() != 0o600 {
			t.Errorf("%s: mode %v, %v", id, stat.Mode(), err)
		}
	}
}

// Every range waits until all three are being read.
func TestDownloadIsParallel(t *testing.T) {
	agent := newMemory()
	agent.put(t, "a", threeChunks())
	path, _ := target(t)
	synctest.Test(t, func(t *testing.T) {
		all := make(chan struct{})
		var mu sync.Mutex
		reading := 0
		agent.reader = func(_ context.Context, _ int64, r io.Reader) io.Reader {
			mu.Lock()
			defer mu.Unlock()
			if reading++; reading == 3 {
				close(all)
			}
			return io.MultiReader(before(func() error { <-all; return nil }), r)
		}
		if _, err := core.Download(t.Context(), agent, "a", path); err != nil {
			t.Error(err)
		}
	})
	wantFile(t, path, threeChunks())
	if offs := agent.asked(); !slices.Equal(offs, []int64{0, chunk, 2 * chunk}) {
		t.Errorf("asked for %v", offs)
	}
}

// before is an empty reader that calls a function.
type before func() error

func (b before) Read([]byte) (int, error) {
	if err := b(); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

// after calls f when r has given all its bytes and is well.
func after(r io.Reader, f func()) io.Reader {
	return io.MultiReader(r, before(func() error { f(); return nil }))
}

// cutAfterFirst lets the first chunk through, and then fails the others.
func (m *memory) cutAfterFirst() {
	first := make(chan struct{})
	m.reader = func(_ context.Context, off int64, r io.Reader) io.Reader {
		if off == 0 {
			return after(r, func() { close(first) })
		}
		return io.MultiReader(io.LimitReader(r, 1<<20), before(func() error { <-first; return core.ErrUnavailable }))
	}
}

func TestDownloadResumes(t *testing.T) {
	agent := newMemory()
	agent.put(t, "a", threeChunks())
	agent.cutAfterFirst()
	path, partial := target(t)
	if b, err := core.Download(t.Context(), agent, "a", path); !errors.Is(err, core.ErrUnavailable) || b.ID != "" {
		t.Fatalf("cut: %+v, %v", b, err)
	}
	wantNoFile(t, path)
	if stat, err := os.Stat(partial); err != nil || stat.Mode() != 0o600 {
		t.Fatalf("the partial file: %v, %v", stat, err)
	}
	agent.asked()
	agent.reader = nil
	if _, err := core.Download(t.Context(), agent, "a", path); err != nil {
		t.Fatal(err)
	}
	if offs := agent.asked(); !slices.Equal(offs, []int64{chunk, 2 * chunk}) {
		t.Errorf("fetched %v again, want what was missing", offs)
	}
	wantFile(t, path, threeChunks())
	wantNoFile(t, partial)
}

// What an earlier try left is believed as far as its checksums go.
func TestDownloadChecksThePartialFile(t *testing.T) {
	agent, data := newMemory(), threeChunks()
	flipped := bytes.Clone(data)
	flipped[chunk+5] ^= 1
	tests := map[string]struct {
		left  []byte
		fetch []int64
	}{
		"whole":          {data, nil},
		"too long":       {append(bytes.Clone(data), "more"...), nil},
		"short":          {data[:chunk+7], []int64{chunk, 2 * chunk}},
		"one flipped":    {flipped, []int64{chunk}},
		"something else": {random(9, 100), []int64{0, chunk, 2 * chunk}},
		"empty":          {nil, []int64{0, chunk, 2 * chunk}},
	}
	agent.put(t, "a", data)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path, partial := target(t)
			if err := os.WriteFile(partial, test.left, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := core.Download(t.Context(), agent, "a", path); err != nil {
				t.Error(err)
			}
			if offs := agent.asked(); !slices.Equal(offs, test.fetch) {
				t.Errorf("fetched %v, want %v", offs, test.fetch)
			}
			wantFile(t, path, data)
			wantNoFile(t, partial)
		})
	}
}

func TestDownloadDamaged(t *testing.T) {
	agent, path, partial := newMemory(), "", ""
	path, partial = target(t)
	agent.put(t, "a", bytes.Clone(threeChunks()))
	agent.data["a"][chunk+9] ^= 1
	if b, err := core.Download(t.Context(), agent, "a", path); !errors.Is(err, core.ErrDamaged) || b.ID != "" {
		t.Errorf("%+v, %v", b, err)
	}
	wantNoFile(t, path)
	agent.data["a"][chunk+9] ^= 1
	if _, err := core.Download(t.Context(), agent, "a", path); err != nil {
		t.Errorf("healed: %v", err)
	}
	wantFile(t, path, threeChunks())
	wantNoFile(t, partial)
}

// A byte may flip on its way: that chunk is fetched once more.
func TestDownloadFlippedOnce(t *testing.T) {
	agent := newMemory()
	agent.put(t, "a", threeChunks())
	var flipped atomic.Bool
	agent.reader = func(_ context.Context, off int64, r io.Reader) io.Reader {
		if off == chunk && flipped.CompareAndSwap(false, true) {
			return io.MultiReader(io.LimitReader(r, 10), before(func() error { return core.ErrDamaged }))
		}
		return r
	}
	path, _ := target(t)
	if _, err := core.Download(t.Context(), agent, "a", path); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, threeChunks())
	if offs := agent.asked(); len(offs) != 4 {
		t.Errorf("fetched %v", offs)
	}
}

// An agent that checks nothing, or gives too little or too much, gets nothing past
// Download.
func TestDownloadFromCarelessAgent(t *testing.T) {
	data := threeChunks()
	tests := map[string]struct {
		change func(*core.Backup)
		reader func(off int64, r io.Reader) io.Reader
	}{
		"other bytes":            {func(b *core.Backup) { b.SHA256 = sum0 }, nil},
		"other bytes, no chunks": {func(b *core.Backup) { b.SHA256, b.Chunks = sum0, core.Chunks{} }, nil},
		"short": {nil, func(off int64, r io.Reader) io.Reader {
			if off == chunk {
				return io.LimitReader(r, chunk-1)
			}
			return r
		}},
		"long": {nil, func(off int64, r io.Reader) io.Reader { return io.MultiReader(r, bytes.NewReader([]byte("more"))) }},
		"long at the end": {nil, func(off int64, r io.Reader) io.Reader {
			if off == 2*chunk {
				return io.MultiReader(r, bytes.NewReader([]byte("more")))
			}
			return r
		}},
		"nothing": {nil, func(int64, io.Reader) io.Reader { return bytes.NewReader(nil) }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			agent := newMemory()
			var changes []func(*core.Backup)
			if test.change != nil {
				changes = append(changes, test.change)
			}
			agent.put(t, "a", data, changes...)
			if test.reader != nil {
				agent.reader = func(_ context.Context, off int64, r io.Reader) io.Reader { return test.reader(off, r) }
			}
			path, _ := target(t)
			if _, err := core.Download(t.Context(), agent, "a", path); !errors.Is(err, core.ErrDamaged) {
				t.Errorf("%v", err)
			}
			wantNoFile(t, path)
		})
	}
}

func TestDownloadWithoutChunks(t *testing.T) {
	agent := newMemory()
	agent.put(t, "a", threeChunks(), func(b *core.Backup) { b.Chunks = core.Chunks{} })
	path, partial := target(t)
	if err := os.WriteFile(partial, random(9, chunk), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := core.Download(t.Context(), agent, "a", path); err != nil {
		t.Error(err)
	}
	wantFile(t, path, threeChunks())
}

func TestDownloadNeverReplaces(t *testing.T) {
	agent := newMemory()
	agent.put(t, "a", []byte("new"))
	path, partial := target(t)
	for name, make := range map[string]func() error{
		"file":          func() error { return os.WriteFile(path, []byte("old"), 0o600) },
		"directory":     func() error { return os.Mkdir(path, 0o700) },
		"dangling link": func() error { return os.Symlink("nowhere", path) },
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		if _, err := core.Download(t.Context(), agent, "a", path); !errors.Is(err, fs.ErrExist) || core.KindOf(err) != core.ErrExists {
			t.Errorf("%s: %v", name, err)
		}
		if offs := agent.asked(); offs != nil {
			t.Errorf("%s: the agent was asked for %v", name, offs)
		}
		wantNoFile(t, partial)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}

	// Now it appears while the archive is fetched.
	agent.reader = func(_ context.Context, _ int64, r io.Reader) io.Reader {
		return after(r, func() {
			if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := core.Download(t.Context(), agent, "a", path); core.KindOf(err) != core.ErrExists {
		t.Errorf("%v", err)
	}
	wantFile(t, path, []byte("old"))
}

func TestDownloadRefuses(t *testing.T) {
	agent := newMemory()
	agent.put(t, "a", []byte("new"))
	path, partial := target(t)
	if _, err := core.Download(t.Context(), agent, "b", path); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("no such backup: %v", err)
	}
	if _, err := core.Download(t.Context(), agent, "../a", path); core.KindOf(err) != core.ErrInvalid {
		t.Errorf("hostile id: %v", err)
	}
	if _, err := core.Download(t.Context(), agent, "a", filepath.Join(path, "none", "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such directory: %v", err)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); len(names) != 0 {
		t.Errorf("left %v, %v", names, err)
	}

	victim := filepath.Join(filepath.Dir(path), "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("dear"), 0o600), os.Symlink("victim", partial)); err != nil {
		t.Fatal(err)
	}
	if _, err := core.Download(t.Context(), agent, "a", path); core.KindOf(err) != core.ErrInvalid {
		t.Errorf("a link in the partial file's place: %v", err)
	}
	wantFile(t, victim, []byte("dear"))
	wantNoFile(t, path)
}

// reading is a reader made of a function.
type reading func(p []byte) (int, error)

func (r reading) Read(p []byte) (int, error) { return r(p) }

// TestDownloadCancel ends with no goroutine left, or its bubble would panic.
func TestDownloadCancel(t *testing.T) {
	agent := newMemory()
	agent.put(t, "a", threeChunks())
	path, partial := target(t)
	var mu sync.Mutex
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		agent.reader = func(ctx context.Context, off int64, r io.Reader) io.Reader {
			stall := before(func() error { <-ctx.Done(); return context.Cause(ctx) })
			return io.MultiReader(io.LimitReader(r, 1<<20), stall)
		}
		go func() {
			synctest.Wait() // all ranges stall
			cancel(errWord)
		}()
		if _, err := core.Download(ctx, agent, "a", path); !errors.Is(err, errWord) {
			t.Errorf("%v", err)
		}
	})
	wantNoFile(t, path)
	if _, err := os.Stat(partial); err != nil {
		t.Errorf("the partial file: %v", err)
	}

	// A reader that ignores its context, and the check of what is there already,
	// end as well: each worker reads once more at most.
	reads := 0
	ctx, cancel := context.WithCancelCause(t.Context())
	agent.reader = func(_ context.Context, _ int64, r io.Reader) io.Reader {
		return reading(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			cancel(errWord)
			reads++
			return r.Read(p)
		})
	}
	if _, err := core.Download(ctx, agent, "a", path); !errors.Is(err, errWord) || reads > 4 {
		t.Errorf("%d reads, %v", reads, err)
	}

	ctx, cancel = context.WithCancelCause(t.Context())
	cancel(errWord)
	agent.asked()
	if _, err := core.Download(ctx, agent, "a", path); !errors.Is(err, errWord) {
		t.Errorf("cancelled before: %v", err)
	}
	if offs := agent.asked(); offs != nil {
		t.Errorf("cancelled before, it asked for %v", offs)
	}
}
