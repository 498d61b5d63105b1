package archive_test

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/offsite-backup/offsite/core/archive"
)

// TestLeased packs a file on which another has a lease, who gives it back when asked
// to, as a file server does.
func TestLeased(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shared")
	must(t, os.WriteFile(path, []byte("what a colleague has open"), 0o600))
	holder, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer holder.Close()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGIO)
	lease := func(kind int) error {
		_, err := unix.FcntlInt(holder.Fd(), unix.F_SETLEASE, kind)
		return err
	}
	if err := lease(unix.F_WRLCK); err != nil {
		t.Fatalf("no lease here: %v", err)
	}
	given := make(chan error, 1)
	go func() {
		if s := <-asked; s == nil {
			given <- errors.New("nobody asked for the file")
			return
		}
		given <- lease(unix.F_UNLCK)
	}()
	p := pack(t, archive.Options{Paths: []string{dir}})
	signal.Stop(asked) // and no more comes
	close(asked)
	must(t, <-given)
	if p.stats.Lost > 0 || p.stats.Odd > 0 {
		t.Errorf("%d lost, %d odd", p.stats.Lost, p.stats.Odd)
	}
	if e, err := p.open(t).Find(t.Context(), path[1:]); err != nil || e.Size != 25 {
		t.Errorf("%+v, %v", e, err)
	}
}
