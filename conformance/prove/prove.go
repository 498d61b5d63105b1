package prove

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// Open opens an agent that is closed when the test ends.
func Open(t testing.TB, c core.Config, env core.Env) core.Agent {
	t.Helper()
	a, err := c.Open(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// Noise is bytes that no compression makes fewer, the same for the same size.
func Noise(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size), byte(size >> 8)}).Read(b)
	return b
}

// Section is bytes as a driver takes them.
func Section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

// Sum is the checksum of bytes.
func Sum(b []byte) core.CRC64 { return core.CRC64(crc64nvme.Checksum(b)) }

// Put stores bytes under a key, in one request.
func Put(ctx context.Context, s object.Store, key string, b []byte) (object.Object, error) {
	return s.Put(ctx, key, Section(b), Sum(b))
}

// Upload stores a backup of bytes, as an archive of its own format.
func Upload(t testing.TB, a core.Agent, b []byte) (core.Backup, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "archive.tar.zst")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return core.Upload(t.Context(), a, file, core.Backup{Job: "app"})
}

// Uploaded demands that a backup of bytes is stored, and returns its id.
func Uploaded(t testing.TB, a core.Agent, b []byte) core.ID {
	t.Helper()
	stored, err := Upload(t, a, b)
	if err != nil {
		t.Fatal(err)
	}
	return stored.ID
}

// List is the ids of all backups, up to the first error.
func List(ctx context.Context, a core.Agent) (ids []core.ID, err error) {
	for b, err := range a.List(ctx) {
		if err != nil {
			return ids, err
		}
		ids = append(ids, b.ID)
	}
	return ids, nil
}

// Holds demands that an agent lists one backup and nothing else, and that it has
// these bytes.
func Holds(t testing.TB, a core.Agent, id core.ID, want []byte) {
	t.Helper()
	if ids, err := List(t.Context(), a); err != nil || len(ids) != 1 || ids[0] != id {
		t.Fatalf("the list is %v, %v; want %s", ids, err, id)
	}
	file := filepath.Join(t.TempDir(), "back")
	if _, err := core.Download(t.Context(), a, id, file); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes came back as %d others, %v", len(want), len(got), err)
	}
}

// Kind demands that an error is of a kind; "" means that there is none.
func Kind(t testing.TB, what string, err error, want core.ErrorKind) {
	t.Helper()
	if core.KindOf(err) != want || want == "" && err != nil {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}
