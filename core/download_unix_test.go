//go:build linux || darwin

package core_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// While one download runs, a second one of the same must not write into its file.
func TestDownloadTwiceAtOnce(t *testing.T) {
	agent := newMemory()
	agent.put(t, "a", threeChunks())
	path, partial := target(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	agent.reader = func(ctx context.Context, _ int64, r io.Reader) io.Reader {
		once.Do(func() { close(begun) })
		return io.MultiReader(before(func() error {
			select {
			case <-goOn:
			case <-ctx.Done():
			}
			return context.Cause(ctx)
		}), r)
	}
	first := make(chan error, 1)
	go func() {
		_, err := core.Download(t.Context(), agent, "a", path)
		first <- err
	}()
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := core.Download(ctx, agent, "a", path)
	if core.KindOf(err) != core.ErrUnavailable {
		t.Errorf("the second: %v", err)
	}
	close(goOn)
	if err := <-first; err != nil {
		t.Errorf("the first: %v", err)
	}
	wantFile(t, path, threeChunks())
	wantNoFile(t, partial)
}
