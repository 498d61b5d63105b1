package conformance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/offsite-backup/offsite/core"
)

// Section A, its third part: a source that is a file of this machine.
func sealedFiles() []Case {
	return []Case{
		{
			ID: "A14", Words: "sealed_file", Level: Short, run: sealedFile,
			Clause: "An agent on the same file system may link to it instead of copying it.",
			Why:    "the archive of a run lies on this disk once, for all agents, and is removed when they have it",
		},
	}
}

// A packing is a source whose bytes are in a file too: half of them from the start,
// all of them before the rest is given.
type packing struct {
	*source
	path string
}

func (p packing) SealedFile() string { return p.path }

func (t *trial) packing(dir string, size int64) packing {
	p := packing{t.source(size), ""}
	p.path = filepath.Join(dir, string(p.draft.ID))
	f, err := os.OpenFile(p.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	t.ok(err, "a file")
	half := size / 2
	_, err = io.Copy(f, io.NewSectionReader(p.content, 0, half))
	t.ok(err, "half of the file")
	packed := sync.OnceValue(func() error {
		_, err := io.Copy(f, io.NewSectionReader(p.content, half, size))
		return errors.Join(err, f.Close())
	})
	p.before = func(_ context.Context, end int64) error {
		if end <= half {
			return nil
		}
		return packed()
	}
	p.sealing = func(context.Context) error { return packed() }
	return p
}

// untouched demands that the file is what the source gives, and nobody else's.
func (t *trial) untouched(p packing, when string) {
	info, err := os.Lstat(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		t.fail("the source's file is there "+when, "it is gone")
	}
	t.ok(err, "the file")
	if info.Mode() != 0o600 && os.PathSeparator == '/' {
		t.fail("the source's file has the mode that it had "+when, "%v", info.Mode())
	}
	f, err := os.Open(p.path)
	t.ok(err, "the file")
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	t.ok(err, "the bytes of the file")
	if sum := hex.EncodeToString(h.Sum(nil)); sum != p.seal().SHA256 {
		t.fail("the source's file has its own bytes "+when, "%d others", n)
	}
}

func sealedFile(t *trial) {
	a := t.open(t.place())
	dir, err := os.MkdirTemp("", "offsite-conformance-")
	t.ok(err, "a folder")
	defer os.RemoveAll(dir)
	for _, size := range []int64{1, 1000, 2*t.target.Limits.PartSize + 1} {
		kept, deleted := t.packing(dir, size), t.packing(dir, size)
		t.did("uploads of %d bytes that are packed into a file meanwhile", size)
		for _, p := range []packing{kept, deleted} {
			if err := a.Upload(t.ctx, p); err != nil {
				t.fail("the upload succeeds", "%v", err)
			}
			t.untouched(p, "after the upload")
		}
		t.did("one is deleted, the file of the other removed")
		if err := a.Delete(t.ctx, deleted.draft.ID); err != nil {
			t.fail("Delete succeeds", "%v", err)
		}
		t.untouched(deleted, "after the backup was deleted")
		t.ok(os.Remove(kept.path), "the file is removed")
		t.same(a, kept.source)
	}
	t.brokenFile(a, dir)
}

// brokenFile uploads a file that is never sealed.
func (t *trial) brokenFile(a core.Agent, dir string) {
	size := 2*t.target.Limits.PartSize + 1
	p, broken := t.packing(dir, size), errors.New("it cannot be packed")
	t.ok(p.sealing(t.ctx), "the rest of the file")
	p.failingAt(size-10, broken)
	p.sealing = func(context.Context) error { return broken }
	t.did("upload of a file whose packing fails near its end")
	if err := a.Upload(t.ctx, p); !errors.Is(err, broken) {
		t.fail("the source's own error", "%v", err)
	}
	t.untouched(p, "after the upload failed")
	t.absent(a, p.draft.ID)
}
