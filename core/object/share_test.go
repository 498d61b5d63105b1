package object

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A sharing is a memory that can make an object of a file of this machine.
type sharing struct {
	*memory
	refuses string // what answers ErrUnsupported: "share", "part" or "commit"
}

func (s *sharing) Share(ctx context.Context, key, token, path string) (Multipart, error) {
	if err := s.refuse("share"); err != nil {
		return nil, err
	}
	p := &sharedParts{parts{memory: s.memory, key: key, token: token, have: map[int]part{}}, s, path}
	return p, s.do(ctx, "share "+key, func() error { s.uploads[token] = &p.parts; return nil })
}

func (s *sharing) refuse(request string) error {
	if s.refuses == request {
		return core.Errorf(core.ErrUnsupported, "no sharing here")
	}
	return nil
}

type sharedParts struct {
	parts
	store *sharing
	path  string
}

func (p *sharedParts) Put(ctx context.Context, at Part, _ *io.SectionReader) error {
	return errors.Join(context.Cause(ctx), p.store.refuse("part"))
}

func (p *sharedParts) Commit(ctx context.Context, all []Part) (o Object, err error) {
	if err := p.store.refuse("commit"); err != nil {
		return o, err
	}
	body, err := os.ReadFile(p.path)
	if err != nil {
		return o, err
	}
	err = p.do(ctx, "commit "+p.key, func() error {
		if err := p.alive(); err != nil {
			return err
		}
		if o, err = p.create(p.key, p.token, body); err == nil {
			delete(p.uploads, p.token)
		}
		return err
	})
	return o, err
}

func (p *sharedParts) Abort(ctx context.Context) error {
	return p.parts.Abort(context.WithoutCancel(ctx))
}

// A sealedFile is a source that nobody writes to again.
type sealedFile struct {
	core.Source
	path string
}

func (f sealedFile) SealedFile() string { return f.path }

func sealed(t *testing.T, body []byte) sealedFile {
	t.Helper()
	path := t.TempDir() + "/spool"
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := core.OpenFile(path, core.Backup{ID: id, Archive: "data/" + string(id) + ".tar.zst", Created: time.Unix(1, 0)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return sealedFile{f, path}
}

// has says whether a request that begins so was made.
func has(requests []string, prefix string) bool {
	return strings.Contains("\n"+strings.Join(requests, "\n"), "\n"+prefix)
}

// TestShare sends no byte of a file that the store can share, and all bytes where
// that turns out not to be so, however late.
func TestShare(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 64 << 10, 300 << 10} {
		for _, refuses := range []string{"", "share", "part", "commit"} {
			var mu sync.Mutex
			limit, last := new(meter), core.Progress{}
			m := newMemory()
			m.limits.Workers = 1
			a := New(&sharing{m, refuses}, core.Env{Name: "mem", Limit: limit, Progress: func(p core.Progress) {
				mu.Lock()
				defer mu.Unlock()
				last = p
			}})
			defer a.Close()
			body := content(uint64(n), n)
			if err := a.Upload(t.Context(), sealed(t, body)); err != nil {
				t.Fatalf("%d bytes, refuses %q: %v", n, refuses, err)
			}
			asked := m.asked()
			if got, err := download(t, a, id); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes, refuses %q: %d other bytes, %v", n, refuses, len(got), err)
			}
			copied := has(asked, "part ") || has(asked, "put data/")
			if want := refuses != "" || n == 0; copied != want {
				t.Errorf("%d bytes, refuses %q: copied %v", n, refuses, copied)
			}
			if !copied && limit.n > 4096+n { // the document, and the download
				t.Errorf("%d bytes: the limiter was asked for %d", n, limit.n)
			}
			if want := (core.Progress{Agent: "mem", ID: id, Done: int64(n), Total: int64(n)}); last != want {
				t.Errorf("%d bytes, refuses %q: told %+v", n, refuses, last)
			}
			if len(m.uploads) > 0 {
				t.Errorf("%d bytes, refuses %q: an upload is left", n, refuses)
			}
		}
	}
}

// TestShareOnlySealedFiles copies what its owner may write to again.
func TestShareOnlySealedFiles(t *testing.T) {
	m := newMemory()
	a := New(&sharing{memory: m}, core.Env{})
	defer a.Close()
	if err := a.Upload(t.Context(), source(t, id, content(1, 300<<10))); err != nil {
		t.Fatal(err)
	}
	if has(m.asked(), "share ") {
		t.Error("shared a user's own file")
	}
}

// TestShareThatEnds leaves nothing, and asks nothing before there is a byte.
func TestShareThatEnds(t *testing.T) {
	broken := errors.New("cannot be read")
	for name, c := range map[string]struct {
		from  int64 // where reading fails
		asks  bool
		place error // of the commit
	}{
		"before its first byte":     {from: 0},
		"in the middle":             {from: 200 << 10, asks: true},
		"because of the place":      {from: 1 << 40, asks: true, place: core.ErrNoSpace},
		"because others stopped it": {from: 1 << 40, asks: true, place: context.Canceled},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		m := newMemory()
		a := New(&sharing{memory: m}, core.Env{})
		defer a.Close()
		m.before = func(request string) error {
			if !strings.HasPrefix(request, "commit ") {
				return nil
			}
			if c.place == context.Canceled {
				cancel()
			}
			return c.place
		}
		src := sealed(t, content(1, 300<<10))
		src.Source = &brokenSource{src.Source, c.from, broken}
		err := a.Upload(ctx, src)
		want := c.place
		if want == nil {
			want = broken
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if asked := m.asked(); has(asked, "share ") != c.asks || len(m.uploads) > 0 || len(m.keys()) > 0 {
			t.Errorf("%s: asked %q, left %d uploads and %v", name, asked, len(m.uploads), m.keys())
		}
		cancel()
	}
}

// TestShareAfterCrash compares an archive that an earlier upload stored, and takes no
// file for what is there.
func TestShareAfterCrash(t *testing.T) {
	m := newMemory()
	a := New(&sharing{memory: m}, core.Env{})
	defer a.Close()
	body := content(1, 300<<10)
	m.set("data/"+string(id)+".tar.zst", body)
	if err := a.Upload(t.Context(), sealed(t, body)); err != nil {
		t.Fatal(err)
	}
	if has(m.asked(), "share ") {
		t.Error("shared what is stored already")
	}
	m.set("data/"+string(id)+".tar.zst", content(2, 300<<10))
	delete(m.objects, metaKey(id))
	if err := a.Upload(t.Context(), sealed(t, body)); !errors.Is(err, core.ErrExists) {
		t.Error(err)
	}
}

// TestShareRemoved meanwhile, by a sweep or by another upload that came to its end,
// begins again.
func TestShareRemoved(t *testing.T) {
	m := newMemory()
	a := New(&sharing{memory: m}, core.Env{})
	defer a.Close()
	removed := 0
	m.before = func(request string) error {
		if strings.HasPrefix(request, "commit ") && removed == 0 {
			removed++
			clear(m.uploads)
		}
		return nil
	}
	body := content(1, 300<<10)
	if err := a.Upload(t.Context(), sealed(t, body)); err != nil || removed != 1 {
		t.Fatal(err)
	}
	if got, err := download(t, a, id); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
