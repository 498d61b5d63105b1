package conformance

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
)

// content is the first size bytes of a key stream of AES that the seed decides, from
// any position on: incompressible, and no piece fits anywhere else.
type content struct {
	seed uint64
	size int64
}

func (c content) ReadAt(p []byte, off int64) (n int, err error) {
	if off >= c.size {
		return 0, io.EOF
	}
	if rest := c.size - off; int64(len(p)) >= rest {
		p, err = p[:rest], io.EOF
	}
	clear(p)
	c.from(off).XORKeyStream(p, p)
	return len(p), err
}

// from is the key stream from a position on.
func (c content) from(off int64) cipher.Stream {
	var key, at [aes.BlockSize]byte
	binary.LittleEndian.PutUint64(key[:], c.seed)
	binary.BigEndian.PutUint64(at[8:], uint64(off/aes.BlockSize))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has one of the lengths there are
	}
	stream := cipher.NewCTR(block, at[:])
	before := at[:off%aes.BlockSize]
	stream.XORKeyStream(before, before)
	return stream
}

// reader returns all of it.
func (c content) reader() io.Reader { return io.NewSectionReader(c, 0, c.size) }

// A source is a core.Source with knobs. It counts what an agent may not do.
type source struct {
	content             // what the metadata promises
	draft   core.Backup // with the id
	sealed  core.Backup
	handed  core.Backup                                // what the agent got of it the last time
	gives   io.ReaderAt                                // the bytes that it gives, where they are not those promised
	truth   io.ReaderAt                                // the bytes promised, where they are not content
	before  func(ctx context.Context, end int64) error // asked before each read, with where it ends
	sealing func(ctx context.Context) error            // asked before Backup answers
	ready   sync.Once                                  //
	prepare func(*source)                              // sets sealed, once it is asked for
	mu      sync.Mutex                                 // of handed and sealing
	touched atomic.Bool                                // closed or sought
	over    atomic.Bool                                // the upload has returned
	late    atomic.Bool                                // was read after that
	read    atomic.Int64                               // bytes given
}

func (s *source) Draft() core.Backup { return s.draft }

// bytes are those that it gives.
func (s *source) bytes() io.ReaderAt {
	switch {
	case s.gives != nil:
		return s.gives
	case s.truth != nil:
		return s.truth
	}
	return s.content
}

// reader returns all that it promises.
func (s *source) reader() io.Reader {
	if s.truth != nil {
		return io.NewSectionReader(s.truth, 0, s.size)
	}
	return s.content.reader()
}

func (s *source) Reader(ctx context.Context) io.ReaderAt { return sourceReader{ctx, s} }

func (s *source) Backup(ctx context.Context) (core.Backup, error) {
	s.mu.Lock()
	sealing := s.sealing
	s.mu.Unlock()
	if sealing != nil {
		if err := sealing(ctx); err != nil {
			return core.Backup{}, err
		}
	}
	if ctx.Err() != nil {
		return core.Backup{}, context.Cause(ctx)
	}
	handed := s.seal()
	handed.Tags, handed.Extra = maps.Clone(handed.Tags), maps.Clone(handed.Extra)
	handed.Recipients, handed.Hooks = slices.Clone(handed.Recipients), slices.Clone(handed.Hooks)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handed = handed
	return handed, nil
}

// seal is the metadata.
func (s *source) seal() core.Backup {
	s.ready.Do(func() { s.prepare(s) })
	return s.sealed
}

// Close and Seek are traps: nothing in core.Source gives an agent the right.
func (s *source) Close() error {
	s.touched.Store(true)
	return nil
}

type sourceReader struct {
	ctx context.Context
	s   *source
}

func (r sourceReader) ReadAt(p []byte, off int64) (int, error) {
	s := r.s
	if s.over.Load() {
		s.late.Store(true)
	}
	if s.before != nil {
		if err := s.before(r.ctx, off+int64(len(p))); err != nil {
			return 0, err
		}
	}
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	n, err := s.bytes().ReadAt(p, off)
	s.read.Add(int64(n))
	return n, err
}

func (r sourceReader) Close() error { return r.s.Close() }

func (r sourceReader) Seek(int64, int) (int64, error) {
	r.s.touched.Store(true)
	return 0, errors.New("the caller's source was sought")
}

// source makes one of size bytes with an id of its own, later than those before.
func (t *trial) source(size int64) *source {
	t.mu.Lock()
	t.ids++
	n := t.ids
	t.mu.Unlock()
	when := time.Date(2026, 1, 2, 3, 4, n, 0, time.UTC)
	var raw [16]byte
	c := content{t.seed ^ hashOf(t.ID) + uint64(n), size}
	content{^c.seed, 16}.ReadAt(raw[:], 0) // never fails: 16 of 16 bytes
	id, err := core.NewID(when, bytesReader(raw[:]))
	t.ok(err, "an id")
	return sourceOf(id, when, c)
}

func sourceOf(id core.ID, created time.Time, c content) *source {
	s := &source{content: c, prepare: func(s *source) {
		sums := core.NewSums(crc64nvme.New())
		_, _ = io.Copy(sums, s.reader()) // neither side fails
		s.sealed = s.draft
		sums.Fill(&s.sealed)
	}}
	s.draft = core.Backup{
		ID: id, Job: "conformance", Name: "a backup of the conformance suite", Created: created,
		Archive: fmt.Sprintf("data/%s.tar.zst", id), MediaType: "application/zstd", Size: c.size,
		Tags: core.Tags{"suite": "conformance"},
	}
	return s
}

// stored is what an agent has to give back: the metadata as its document says.
func (s *source) stored() core.Backup {
	b, err := decoded(s.seal())
	if err != nil {
		panic(fmt.Sprintf("the suite's own metadata: %v", err))
	}
	return b
}

func decoded(b core.Backup) (core.Backup, error) {
	doc, err := b.Encode()
	if err != nil {
		return core.Backup{}, err
	}
	return core.DecodeBackup(b.ID, doc)
}

// holdAt makes reads that need a byte at or after off wait until release or the
// end of their ctx; the first closes reached.
func (s *source) holdAt(off int64) (reached <-chan struct{}, release func()) {
	come, free := make(chan struct{}), make(chan struct{})
	var once, freed sync.Once
	s.before = func(ctx context.Context, end int64) error {
		if end <= off {
			return nil
		}
		once.Do(func() { close(come) })
		select {
		case <-free:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return come, func() { freed.Do(func() { close(free) }) }
}

// sumOf is the SHA-256 of n bytes from off.
func (s *source) sumOf(off, n int64) string {
	h := sha256.New()
	_, _ = io.Copy(h, io.NewSectionReader(s.bytes(), off, n)) // neither side fails
	return hex.EncodeToString(h.Sum(nil))
}

// sumOf is the SHA-256 of bytes.
func sumOf(p []byte) string {
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}
