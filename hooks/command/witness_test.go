//go:build linux || darwin

package command_test

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come. It says nothing of speed.
const patience = time.Minute

// A witness hears of processes that opened its FIFO: what they write, and that the
// last of them has ended.
type witness struct {
	t     *testing.T
	path  string
	file  *os.File
	lines *bufio.Reader
}

func newWitness(t *testing.T) *witness {
	path := filepath.Join(t.TempDir(), "witness")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	w := &witness{t: t, path: path}
	w.open(os.O_RDWR) // until the first of them has opened it there is no end
	t.Cleanup(func() { w.file.Close() })
	return w
}

func (w *witness) open(mode int) {
	w.t.Helper()
	f, err := os.OpenFile(w.path, mode|syscall.O_NONBLOCK, 0)
	if err == nil {
		err = f.SetReadDeadline(time.Now().Add(patience))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.file, w.lines = f, bufio.NewReader(f)
}

// hear waits for a line.
func (w *witness) hear(want string) {
	w.t.Helper()
	if line, err := w.lines.ReadString('\n'); err != nil || line != want+"\n" {
		w.t.Fatalf("heard %q, %v; want %q", line, err, want)
	}
}

// gone waits until no process that opened it is left.
func (w *witness) gone() {
	w.t.Helper()
	was := w.file
	w.open(os.O_RDONLY)
	was.Close()
	if rest, err := io.ReadAll(w.lines); err != nil {
		w.t.Errorf("something still runs: %v, heard %q", err, rest)
	}
}

// newSignal makes a FIFO at which a program waits for a line, which give gives.
func newSignal(t *testing.T) (path string, give func()) {
	path = filepath.Join(t.TempDir(), "signal")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return path, func() {
		if _, err := f.WriteString("go\n"); err != nil {
			t.Fatal(err)
		}
	}
}
