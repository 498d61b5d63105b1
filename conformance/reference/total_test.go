package reference

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// endless is a source whose bytes do not come.
type endless struct{ draft core.Backup }

func (e endless) Draft() core.Backup { return e.draft }

func (e endless) Reader(ctx context.Context) io.ReaderAt {
	return readerAt(func([]byte, int64) (int, error) {
		<-ctx.Done()
		return 0, context.Cause(ctx)
	})
}

func (e endless) Backup(ctx context.Context) (core.Backup, error) {
	<-ctx.Done()
	return core.Backup{}, context.Cause(ctx)
}

// TestTotal bounds an upload as a whole.
func TestTotal(t *testing.T) {
	a, err := new(Place).Target().Open(t.Context(), "total", core.Env{Patience: core.Patience{Total: 10 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	err = a.Upload(t.Context(), endless{core.Backup{ID: "endless", Created: time.Now(), Archive: "data/endless.tar"}})
	if !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("an upload that took longer than it may: %v", err)
	}
}
