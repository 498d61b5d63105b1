package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A held is a source of which the second half does not exist before release is
// closed, as of an archive that is still being packed.
type held struct {
	*core.File
	release chan struct{}
}

func (s held) Draft() core.Backup {
	b := s.File.Draft()
	b.Size *= 2 // a bound, as of what is not packed yet
	return b
}

func (s held) Reader(ctx context.Context) io.ReaderAt { return heldReader{s, ctx} }

func (s held) Backup(ctx context.Context) (core.Backup, error) {
	if err := s.wait(ctx); err != nil {
		return core.Backup{}, err
	}
	return s.File.Backup(ctx)
}

func (s held) wait(ctx context.Context) error {
	select {
	case <-s.release:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

type heldReader struct {
	held
	ctx context.Context
}

func (r heldReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > r.File.Draft().Size/2 {
		if err := r.wait(r.ctx); err != nil {
			return 0, err
		}
	}
	return r.File.Reader(r.ctx).ReadAt(p, off)
}

// TestSendingOverlapsPacking holds a source half-way. By then every agent has parts
// of it, and none shows the backup.
func TestSendingOverlapsPacking(t *testing.T) {
	h := &host{T: t, dir: memoryDir(t)}
	places := []string{h.at("copies")}
	for _, server := range remotes {
		r := server.start(t)
		for _, e := range r.env {
			name, value, _ := strings.Cut(e, "=")
			t.Setenv(name, value)
		}
		places = append(places, r.place(r.address))
	}
	h.noise("file.bin", 256<<20)
	const id = core.ID("20261123T045900Z-held-half-way")
	file, err := core.OpenFile(h.at("file.bin"), core.Backup{ID: id, Archive: "data/" + string(id) + ".bin", Created: time.Unix(1, 0)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	src := held{file, make(chan struct{})}
	release := sync.OnceFunc(func() { close(src.release) })
	defer release()

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var agents []core.Agent
	uploads := make(chan error, len(places))
	for _, place := range places {
		a := openPlace(t, place)
		agents = append(agents, a)
		go func() { uploads <- a.Upload(ctx, src) }()
	}
	for _, a := range agents {
		for !hasParts(ctx, t, a, id) {
			if ctx.Err() != nil {
				t.Fatalf("%s has no parts of a source that is half there", a.Name())
			}
		}
		if _, err := a.Get(ctx, id); !errors.Is(err, core.ErrNotFound) && !errors.Is(err, core.ErrNoPlace) {
			t.Errorf("%s: half a backup: %v", a.Name(), err)
		}
		for b, err := range a.List(ctx) {
			if !errors.Is(err, core.ErrNoPlace) {
				t.Errorf("%s lists %q, %v", a.Name(), b.ID, err)
			}
		}
	}
	release()
	for range agents {
		if err := <-uploads; err != nil {
			t.Error(err)
		}
	}
	for _, a := range agents {
		if _, err := a.Get(ctx, id); err != nil {
			t.Errorf("%s: %v", a.Name(), err)
		}
	}
}

func openPlace(t *testing.T, place string) core.Agent {
	t.Helper()
	c, err := program.Agents.Parse(place)
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.Open(t.Context(), core.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// hasParts asks a sweep, which removes nothing that is not ours to remove.
func hasParts(ctx context.Context, t *testing.T, a core.Agent, id core.ID) bool {
	t.Helper()
	for l, err := range a.(core.Sweeper).Sweep(ctx, nil) {
		if err != nil {
			t.Fatalf("%s: %v", a.Name(), err)
		}
		if l.ID == id && l.What == "parts" && !l.Removed {
			return true
		}
	}
	return false
}
