package platform

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/offsite-backup/offsite/core"
)

// TestPostHasItsFolder also where nothing was dumped into it; the archive has none of it.
func TestPostHasItsFolder(t *testing.T) {
	w := newWorld(t)
	said := func(m core.Moment) error {
		return os.WriteFile(filepath.Join(m.Dir, "start.log"), []byte("started"), 0o600)
	}
	job := w.job()
	job.Hooks = []core.Hook{
		{Name: "pause", Pre: func(context.Context, core.Moment) error { return nil }, Post: func(_ context.Context, m core.Moment) error { return said(m) }},
		{Name: "post", Post: func(_ context.Context, m core.Moment) error { return said(m) }},
	}
	report, err := w.Run(t.Context(), job)
	if err != nil || report.Outcome != core.OK {
		t.Fatalf("%v, %v, %v", report.Outcome, report.Err, err)
	}
	dest := w.at("restored")
	if _, err := w.Restore(t.Context(), report.Backup.ID, dest, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	if files, err := os.ReadDir(filepath.Join(dest, "hooks")); !os.IsNotExist(err) {
		t.Errorf("the archive holds hooks: %v, %v", files, err)
	}
	if names := left(t, w.at("state")); len(names) > 0 {
		t.Errorf("left: %q", names)
	}
}
