package core_test

import (
	"bytes"
	"context"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/offsite-backup/offsite/core"
)

func writeFile(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dump.sql")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openFile(t *testing.T, path string, crc hash.Hash64) *core.File {
	t.Helper()
	f, err := core.OpenFile(path, backup(), crc)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A hookedHash calls a function before each of its writes: that is, in the middle
// of the sealing of a file.
type hookedHash struct {
	hash.Hash64
	before func()
}

func (h hookedHash) Write(p []byte) (int, error) {
	h.before()
	return h.Hash64.Write(p)
}

func TestFile(t *testing.T) {
	data := random(1, 1<<20+7)
	f := openFile(t, writeFile(t, data), nil)
	if d := f.Draft(); d.Size != int64(len(data)) || d.ID != "a" || d.Archive != backup().Archive {
		t.Errorf("draft %+v", d)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			got, err := io.ReadAll(core.NewReader(t.Context(), f))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
		})
	}
	b, err := f.Backup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := backup()
	sums := core.NewSums(nil)
	_, _ = sums.Write(data)
	sums.Fill(&want)
	want.Schema = core.Schema
	if fields := diff(b, want); fields != nil {
		t.Errorf("%v differ: %+v", fields, b)
	}
	all.Wait()
	p := make([]byte, 10)
	if n, err := f.Reader(t.Context()).ReadAt(p, int64(len(data))-3); n != 3 || err != io.EOF {
		t.Errorf("over the end: %d, %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if n, err := f.Reader(t.Context()).ReadAt(p, 0); n != 0 || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %d, %v", n, err)
	}
}

func TestFileReaderEndsWithItsContext(t *testing.T) {
	f := openFile(t, writeFile(t, []byte("x")), nil)
	defer f.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	r := f.Reader(ctx)
	cancel(errWord)
	if _, err := r.ReadAt(make([]byte, 1), 0); err != errWord {
		t.Errorf("ended reader: %v", err)
	}
	if n, err := f.Reader(t.Context()).ReadAt(make([]byte, 1), 0); n != 1 || err != nil && err != io.EOF {
		t.Errorf("the others read on: %d, %v", n, err)
	}
}

var errWord = errors.New("word")

func TestFileChangesWhileItIsSealed(t *testing.T) {
	changes := map[string]func(path string) error{
		"grows":   func(path string) error { return os.Truncate(path, 1<<20) },
		"shrinks": func(path string) error { return os.Truncate(path, 10) },
		"shrinks, as old as before": func(path string) error {
			before, err := os.Stat(path)
			return errors.Join(err, os.Truncate(path, 10), os.Chtimes(path, time.Time{}, before.ModTime()))
		},
		"touched": func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(1, 0)) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, random(1, 600<<10))
			var once sync.Once
			f := openFile(t, path, hookedHash{core.NewCRC64(), func() {
				once.Do(func() {
					if err := change(path); err != nil {
						t.Error(err)
					}
				})
			}})
			defer f.Close()
			for range 2 {
				if b, err := f.Backup(t.Context()); core.KindOf(err) != core.ErrChanged || b.ID != "" {
					t.Errorf("%+v, %v", b, err)
				}
			}
			if _, err := f.Reader(t.Context()).ReadAt(make([]byte, 1), 0); core.KindOf(err) != core.ErrChanged {
				t.Errorf("a failed source gives bytes: %v", err)
			}
		})
	}
}

func TestFileChangesAfterItIsSealed(t *testing.T) {
	path := writeFile(t, random(1, 100))
	f := openFile(t, path, nil)
	defer f.Close()
	if _, err := f.Backup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 99); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Backup(t.Context()); core.KindOf(err) != core.ErrChanged {
		t.Errorf("%v", err)
	}
}

// A file that is replaced is another one: what was opened is what is sent.
func TestFileReplaced(t *testing.T) {
	path := writeFile(t, []byte("old"))
	f := openFile(t, path, nil)
	defer f.Close()
	if err := os.Rename(writeFile(t, []byte("longer")), path); err != nil {
		t.Fatal(err)
	}
	if b, err := f.Backup(t.Context()); b.Size != 3 || err != nil {
		t.Errorf("%d, %v", b.Size, err)
	}
}

func TestFileBackupWaits(t *testing.T) {
	path := writeFile(t, random(1, 100))
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		f := openFile(t, path, hookedHash{core.NewCRC64(), func() { <-gate }})
		defer f.Close()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, errWord)
		defer cancel()
		if _, err := f.Backup(ctx); err != errWord {
			t.Errorf("before it is sealed: %v", err)
		}
		if n, err := f.Reader(t.Context()).ReadAt(make([]byte, 5), 0); n != 5 || err != nil {
			t.Errorf("before it is sealed it reads %d, %v", n, err)
		}
		close(gate)
		if _, err := f.Backup(t.Context()); err != nil {
			t.Errorf("sealed: %v", err)
		}
	})
}

func TestFileCloseEndsSealing(t *testing.T) {
	path := writeFile(t, random(1, 1<<20))
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		writes := 0
		f := openFile(t, path, hookedHash{core.NewCRC64(), func() { writes++; <-gate }})
		synctest.Wait() // sealing is in its first write
		closed := make(chan error, 1)
		go func() { closed <- f.Close() }()
		synctest.Wait() // Close has asked, and waits
		close(gate)
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
		if writes != 1 {
			t.Errorf("%d writes", writes)
		}
		if _, err := f.Backup(t.Context()); !errors.Is(err, core.ErrClosed) {
			t.Errorf("Backup: %v", err)
		}
		if _, err := f.Reader(t.Context()).ReadAt(make([]byte, 1), 0); !errors.Is(err, core.ErrClosed) {
			t.Errorf("ReadAt: %v", err)
		}
	})
}

func TestOpenFileRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := core.OpenFile(filepath.Join(dir, "none"), backup(), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := core.OpenFile(dir, backup(), nil); core.KindOf(err) != core.ErrInvalid {
		t.Errorf("a directory: %v", err)
	}
	if _, err := core.OpenFile(writeFile(t, nil), core.Backup{ID: "a"}, nil); core.KindOf(err) != core.ErrInvalid {
		t.Errorf("no draft: %v", err)
	}
}

// The caller's maps are the caller's.
func TestFileKeepsItsOwnDraft(t *testing.T) {
	draft := backup(func(b *core.Backup) { b.Tags = core.Tags{"k": "v"} })
	f, err := core.OpenFile(writeFile(t, nil), draft, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	draft.Tags["k"] = "changed"
	b, err := f.Backup(t.Context())
	if err != nil || b.Tags["k"] != "v" || f.Draft().Tags["k"] != "v" {
		t.Errorf("%v, %v, %v", b.Tags, f.Draft().Tags, err)
	}
}

// The same bytes stored again are stored with the same document.
func TestFileWithMetadataThatWasRead(t *testing.T) {
	old, err := core.DecodeBackup("a", []byte(later))
	if err != nil {
		t.Fatal(err)
	}
	seal := func(data []byte) core.Backup {
		f, err := core.OpenFile(writeFile(t, data), old, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b, err := f.Backup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	old.Chunks = core.Chunks{Size: 16 << 20, CRC64NVME: []core.CRC64{}}
	if b := seal([]byte("other")); b.Size != 5 || b.SHA256 == sum0 || bytes.Contains(encode(t, b), []byte("later")) {
		t.Errorf("other bytes with the old metadata: %s", encode(t, b))
	}
	old, err = core.DecodeBackup("a", encode(t, seal(nil)))
	if err != nil {
		t.Fatal(err)
	}
	if doc := encode(t, seal(nil)); !bytes.Equal(doc, encode(t, old)) {
		t.Errorf("the same bytes are stored as\n%s", doc)
	}
}
