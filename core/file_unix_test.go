//go:build unix

package core_test

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/offsite-backup/offsite/core"
)

// Opening a pipe would wait for a writer for ever.
func TestOpenFileRefusesPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := core.OpenFile(path, backup(), nil); core.KindOf(err) != core.ErrInvalid {
		t.Errorf("%v", err)
	}
}
