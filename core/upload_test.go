package core_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

func TestUpload(t *testing.T) {
	agent, data := newMemory(), random(1, 300<<10)
	before := time.Now()
	b, err := core.Upload(t.Context(), agent, writeFile(t, data), core.Backup{Name: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	if b.ID.Validate() != nil || b.Archive != "data/"+string(b.ID)+".sql" || b.Name != "mine" || b.Size != int64(len(data)) {
		t.Errorf("%+v", b)
	}
	if b.Created.Before(before) || b.Created.After(time.Now()) {
		t.Errorf("created %v", b.Created)
	}
	stored, err := agent.Get(t.Context(), b.ID)
	if fields := diff(stored, b); err != nil || fields != nil {
		t.Errorf("%v; %v differ from what is stored", err, fields)
	}
	if !bytes.Equal(agent.data[b.ID], data) {
		t.Error("other bytes are stored")
	}
}

func TestUploadKeepsWhatIsGiven(t *testing.T) {
	given := backup(func(b *core.Backup) { b.SHA256 = "stale"; b.Tags = core.Tags{"k": "v"} })
	b, err := core.Upload(t.Context(), newMemory(), writeFile(t, []byte("x")), given)
	if err != nil {
		t.Fatal(err)
	}
	if b.ID != given.ID || b.Archive != given.Archive || !b.Created.Equal(given.Created) || b.Tags["k"] != "v" || b.SHA256 == "stale" {
		t.Errorf("%+v", b)
	}
}

// Of two metadata of the same bytes the first is stored, and told.
func TestUploadTwice(t *testing.T) {
	agent, path := newMemory(), writeFile(t, []byte("x"))
	if _, err := core.Upload(t.Context(), agent, path, core.Backup{ID: "a", Name: "first"}); err != nil {
		t.Fatal(err)
	}
	b, err := core.Upload(t.Context(), agent, path, core.Backup{ID: "a", Name: "second"})
	if err != nil || b.Name != "first" {
		t.Errorf("%q, %v", b.Name, err)
	}
	b, err = core.Upload(t.Context(), agent, writeFile(t, []byte("y")), core.Backup{ID: "a"})
	if !errors.Is(err, core.ErrExists) || b.ID != "" {
		t.Errorf("other bytes: %+v, %v", b, err)
	}
}

func TestUploadFails(t *testing.T) {
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errWord)
	file := writeFile(t, []byte("x"))
	tests := map[string]struct {
		ctx  context.Context
		path string
		b    core.Backup
		want error
	}{
		"no file":      {t.Context(), filepath.Join(t.TempDir(), "none"), core.Backup{}, fs.ErrNotExist},
		"directory":    {t.Context(), t.TempDir(), core.Backup{}, core.ErrInvalid},
		"hostile id":   {t.Context(), file, core.Backup{ID: "../a"}, core.ErrInvalid},
		"hostile key":  {t.Context(), file, core.Backup{ID: "a", Archive: "data/b"}, core.ErrInvalid},
		"hostile text": {t.Context(), file, core.Backup{Name: "\xff"}, core.ErrInvalid},
		"cancelled":    {ended, file, core.Backup{}, errWord},
	}
	for name, test := range tests {
		agent := newMemory()
		if b, err := core.Upload(test.ctx, agent, test.path, test.b); !errors.Is(err, test.want) || b.ID != "" {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
		if len(agent.docs)+len(agent.data) > 0 {
			t.Errorf("%s: something is stored", name)
		}
	}
	if data, err := os.ReadFile(file); string(data) != "x" || err != nil {
		t.Errorf("the file itself: %q, %v", data, err)
	}
}
