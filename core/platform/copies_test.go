package platform

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/offsite-backup/offsite/core"
)

// A rotten archive has one wrong byte, of which its agent would say so at the end
// of the chunk, and fails before that.
type rotten struct{ core.Archive }

func (r rotten) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	body, err := r.Archive.Range(ctx, off, n)
	return &rottenReader{ReadCloser: body}, err
}

type rottenReader struct {
	io.ReadCloser
	read bool
}

func (r *rottenReader) Read(p []byte) (int, error) {
	if r.read {
		return 0, core.Errorf(core.ErrUnavailable, "reset")
	}
	r.read = true
	n, err := r.ReadCloser.Read(p[:1000])
	p[0] ^= 1
	return n, err
}

// TestGoesOnChecked reads a chunk that comes from two agents, the first of which
// is damaged: no wrong byte is followed by io.EOF.
func TestGoesOnChecked(t *testing.T) {
	w := newWorld(t)
	const chunk = 16 << 20
	write(t, w.at("file"), string(make([]byte, chunk+1000)))
	report, err := w.Upload(t.Context(), w.at("file"), UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.Agents[0] = &broken{Agent: w.Agents[0], open: func(a core.Archive) core.Archive { return rotten{a} }}
	for name, n := range map[string]int64{"a chunk": chunk, "all": -1} {
		a, err := w.Archive(t.Context(), report.Backup.ID)
		if err != nil {
			t.Fatal(err)
		}
		r, err := a.Range(t.Context(), 0, n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, core.ErrDamaged) {
			t.Errorf("%s: read to its end: %v", name, err)
		}
		again, err := a.Range(t.Context(), 0, n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, again); err != nil {
			t.Errorf("%s: from the other agent alone: %v", name, err)
		}
		for _, c := range []io.Closer{r, again, a} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// A deaf archive gives nothing.
type deaf struct{ core.Archive }

func (deaf) Range(context.Context, int64, int64) (io.ReadCloser, error) {
	return nil, core.Errorf(core.ErrUnavailable, "down")
}

// TestCopiesAtOnce reads one archive in several goroutines, the first of whose
// agents fails for all.
func TestCopiesAtOnce(t *testing.T) {
	w := newWorld(t)
	report, err := w.Run(t.Context(), w.job())
	if err != nil {
		t.Fatal(err)
	}
	w.Agents[0] = &broken{Agent: w.Agents[0], open: func(a core.Archive) core.Archive { return deaf{a} }}
	for range 20 {
		c, err := w.copies(t.Context(), report.Backup.ID)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		begin := make(chan struct{})
		for i := range 8 {
			all.Go(func() {
				<-begin
				if i == 0 {
					if _, err := c.contents(t.Context()); err != nil {
						t.Error(err)
					}
					return
				}
				r, err := c.Range(t.Context(), 0, -1)
				if err != nil {
					t.Error(err)
					return
				}
				if n, err := io.Copy(io.Discard, r); n != report.Backup.Size || err != nil {
					t.Errorf("%d bytes, %v", n, err)
				}
				r.Close()
			})
		}
		close(begin)
		all.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestNoAgents(t *testing.T) {
	p := &Platform{}
	dir := t.TempDir()
	_, _, contents := p.Contents(t.Context(), "a")
	for name, err := range map[string]error{
		"archive":  second(p.Archive(t.Context(), "a")),
		"contents": contents,
		"download": second(p.Download(t.Context(), "a", filepath.Join(dir, "x"))),
		"restore":  second(p.Restore(t.Context(), "a", filepath.Join(dir, "y"), RestoreOptions{})),
	} {
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("left: %v, %v", names, err)
	}
}
