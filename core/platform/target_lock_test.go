package platform

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/offsite-backup/offsite/core"
)

// A gate is an archive that waits before it is read.
type gate struct {
	core.Archive
	reached, open chan struct{}
}

func (g gate) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	close(g.reached)
	<-g.open
	return g.Archive.Range(ctx, off, n)
}

// TestTwoRestores begins a restore while another fills the same destination: it
// is refused, and touches nothing.
func TestTwoRestores(t *testing.T) {
	w := newWorld(t)
	report, err := w.Run(t.Context(), w.job())
	if err != nil {
		t.Fatal(err)
	}
	reached, open := make(chan struct{}), make(chan struct{})
	first := &Platform{Agents: []core.Agent{&broken{Agent: w.Agents[0], open: func(a core.Archive) core.Archive {
		return gate{a, reached, open}
	}}}}
	ended := make(chan error, 1)
	go func() {
		_, err := first.Restore(t.Context(), report.Backup.ID, w.at("dest"), RestoreOptions{})
		ended <- err
	}()
	<-reached
	write(t, w.at("dest.partial-"+string(report.Backup.ID)+"/first"), "x")
	if _, err := w.Restore(t.Context(), report.Backup.ID, w.at("dest"), RestoreOptions{}); !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("the second restore: %v", err)
	}
	if _, err := os.Stat(w.at("dest")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("dest is there while it is filled: %v", err)
	}
	if err := os.Remove(w.at("dest.partial-" + string(report.Backup.ID) + "/first")); err != nil {
		t.Errorf("what the first fills was removed: %v", err)
	}
	close(open)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	same(t, w.source, filepath.Join(w.at("dest"), w.source))
	if partial, _ := filepath.Glob(w.at("*.partial-*")); len(partial) > 0 {
		t.Errorf("left: %v", partial)
	}
}

// TestTargetLock takes the lock of one destination in many goroutines: one at a
// time has it, though each removes its file.
func TestTargetLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	held := make(chan struct{}, 1)
	ended := make(chan error)
	const goroutines = 8
	for range goroutines {
		go func() {
			for taken := 0; taken < 400; {
				lock, err := lockFile(path)
				if errors.Is(err, core.ErrUnavailable) {
					continue
				}
				if err != nil {
					ended <- err
					return
				}
				taken++
				select {
				case held <- struct{}{}:
				default:
					ended <- errors.New("two have the lock")
					return
				}
				<-held
				if err := (&target{lock: lock}).unlock(); err != nil {
					ended <- err
					return
				}
			}
			ended <- nil
		}()
	}
	for range goroutines {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lock's file is left: %v", err)
	}
}
