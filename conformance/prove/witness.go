package prove

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A Witness sees all that an agent says and writes.
type Witness struct {
	t   testing.TB
	log bytes.Buffer
	dir string
}

// NewWitness returns one for a test.
func NewWitness(t testing.TB) *Witness { return &Witness{t: t, dir: t.TempDir()} }

// Env is what the agent gets.
func (w *Witness) Env() core.Env {
	return core.Env{
		StateDir: w.dir + "/state", CacheDir: w.dir + "/cache",
		Log: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// Calls are the errors of each call of an agent, by its name, none of which may take
// longer than ten seconds. size is that of the backup which is uploaded.
func (w *Witness) Calls(a core.Agent, id core.ID, size int) map[string]error {
	w.t.Helper()
	ctx, cancel := context.WithTimeoutCause(w.t.Context(), 10*time.Second, errors.New("it takes too long"))
	defer cancel()
	all := map[string]error{}
	_, all["list"] = List(ctx, a)
	_, all["get"] = a.Get(ctx, id)
	_, all["open"] = a.Open(ctx, id)
	_, all["upload"] = Upload(w.t, a, Noise(size))
	for _, err := range a.(core.Sweeper).Sweep(ctx, nil) {
		all["sweep"] = err
	}
	all["delete"] = a.Delete(ctx, id)
	return all
}

// Silent demands that no secret stands in errors, in the log, or in what the agent
// wrote. Empty ones are none.
func (w *Witness) Silent(errs map[string]error, secrets ...string) {
	w.t.Helper()
	said := map[string]string{"the log": w.log.String()}
	for op, err := range errs {
		said["the error of "+op] = fmt.Sprintf("%+v", err)
	}
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		said[path] = path + string(text)
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
	for _, secret := range secrets {
		for where, text := range said {
			if secret != "" && strings.Contains(text, secret) {
				w.t.Errorf("%s has a secret", where)
			}
		}
	}
}
