package platform

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestLedgerOnFullDisk writes where there is room for half a line: nothing stays of
// it, and what comes later can be read.
func TestLedgerOnFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), ledgerFile)
	l, err := openLedger(path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if err := l.note(step{Step: stepBegun}); err != nil {
		t.Fatal(err)
	}
	withRoomFor(t, l.size+30, func() { err = l.note(step{Step: stepPacked}) })
	if err == nil {
		t.Error("half a line was written, and nothing said")
	}
	if err := l.note(step{Step: stepEnded}); err != nil {
		t.Fatal(err)
	}
	if steps, err := readLedger(path); err != nil || len(steps) != 2 || steps[1].Step != stepEnded {
		doc, _ := os.ReadFile(path)
		t.Errorf("%v, %v of\n%s", steps, err, doc)
	}
}

// withRoomFor runs f while files of this process cannot be larger than size.
func withRoomFor(t *testing.T, size int64, f func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	small := before
	small.Cur = uint64(size)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}
