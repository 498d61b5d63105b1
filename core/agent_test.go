package core_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
)

// A memory is an agent that keeps its backups in memory and the whole contract.
type memory struct {
	mu      sync.Mutex
	docs    map[core.ID][]byte
	data    map[core.ID][]byte
	fetched []int64 // where the ranges began that were asked for

	// reader, where set, stands between a range that begins at off and its reader.
	reader func(ctx context.Context, off int64, r io.Reader) io.Reader
}

var _ core.Agent = (*memory)(nil)

func newMemory() *memory {
	return &memory{docs: map[core.ID][]byte{}, data: map[core.ID][]byte{}}
}

func (m *memory) Name() string { return "memory" }

func (m *memory) Upload(ctx context.Context, src core.Source) error {
	if err := src.Draft().ValidateDraft(); err != nil {
		return err
	}
	data, err := io.ReadAll(core.NewReader(ctx, src))
	if err != nil {
		return err
	}
	b, err := src.Backup(ctx)
	if err != nil {
		return err
	}
	doc, err := b.Encode()
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(data); b.SHA256 != hex.EncodeToString(sum[:]) || b.Size != int64(len(data)) {
		return core.Errorf(core.ErrChanged, "not what the metadata says")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.docs[b.ID]; !taken {
		m.docs[b.ID], m.data[b.ID] = doc, data
	} else if !bytes.Equal(m.data[b.ID], data) {
		return core.Errorf(core.ErrExists, "other bytes")
	}
	return nil
}

func (m *memory) Get(ctx context.Context, id core.ID) (core.Backup, error) {
	if ctx.Err() != nil {
		return core.Backup{}, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	doc, ok := m.docs[id]
	if !ok {
		return core.Backup{}, core.ErrNotFound
	}
	return core.DecodeBackup(id, doc)
}

func (m *memory) List(ctx context.Context) iter.Seq2[core.Backup, error] {
	return func(yield func(core.Backup, error) bool) {
		for _, id := range slices.SortedFunc(maps.Keys(m.docs), core.ID.Compare) {
			if !yield(m.Get(ctx, id)) {
				return
			}
		}
	}
}

func (m *memory) Delete(_ context.Context, id core.ID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.docs[id]; !ok {
		return core.ErrNotFound
	}
	delete(m.docs, id)
	delete(m.data, id)
	return nil
}

func (m *memory) Close() error { return nil }

func (m *memory) Open(ctx context.Context, id core.ID) (core.Archive, error) {
	b, err := m.Get(ctx, id)
	return &memoryArchive{m, b}, err
}

type memoryArchive struct {
	m *memory
	b core.Backup
}

func (a *memoryArchive) Backup() core.Backup { return a.b }
func (a *memoryArchive) Close() error        { return nil }

func (a *memoryArchive) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	a.m.mu.Lock()
	a.m.fetched = append(a.m.fetched, off)
	data := a.m.data[a.b.ID]
	wrap := a.m.reader
	a.m.mu.Unlock()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	end := error(io.EOF)
	if chunks := a.b.Chunks; chunks.Size > 0 && off%chunks.Size == 0 && n == min(chunks.Size, a.b.Size-off) &&
		core.CRC64(crc64nvme.Checksum(data[off:off+n])) != chunks.CRC64NVME[off/chunks.Size] {
		end = core.ErrDamaged
	}
	r := io.MultiReader(bytes.NewReader(data[off:off+n]), ending{end})
	if wrap != nil {
		r = wrap(ctx, off, r)
	}
	return io.NopCloser(r), nil
}

// ending is the end of a reader.
type ending struct{ err error }

func (e ending) Read([]byte) (int, error) { return 0, e.err }

// asked returns where the ranges began since it was called before, in order.
func (m *memory) asked() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	offs := m.fetched
	m.fetched = nil
	slices.Sort(offs)
	return offs
}

// put stores an archive as if it had been uploaded, with the sums of its bytes.
func (m *memory) put(t *testing.T, id core.ID, data []byte, change ...func(*core.Backup)) {
	t.Helper()
	sums := core.NewSums(crc64nvme.New())
	_, _ = sums.Write(data)
	b := core.Backup{ID: id, Archive: "data/" + string(id), Created: time.Unix(1, 0)}
	sums.Fill(&b)
	for _, f := range change {
		f(&b)
	}
	m.docs[id], m.data[id] = encode(t, b), data
}

// random returns n bytes that repeat nowhere and are the same for a seed.
func random(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}
