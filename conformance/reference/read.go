package reference

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"iter"
	"maps"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

// Get is core.Agent's.
func (a *agent) Get(ctx context.Context, id core.ID) (b core.Backup, err error) {
	err = a.call(ctx, "get", id, func(ctx context.Context) error {
		b, err = a.read(ctx, id)
		return err
	})
	return b, err
}

// read returns metadata whose archive is there.
func (a *agent) read(ctx context.Context, id core.ID) (core.Backup, error) {
	b, _, err := a.readPinned(ctx, id)
	return b, err
}

// fetch reads a small object.
func (a *agent) fetch(ctx context.Context, key string) (response, []byte, error) {
	r, err := a.step(ctx, conformance.Step{Op: conformance.StepRead, Key: key}, request{Op: get, Key: key, N: -1})
	if err != nil {
		return r, nil, err
	}
	data, err := io.ReadAll(r.Body)
	return r, data, errors.Join(err, r.Body.Close())
}

func (a *agent) readPinned(ctx context.Context, id core.ID) (core.Backup, int64, error) {
	b, err := a.document(ctx, id)
	if err != nil {
		return core.Backup{}, 0, err
	}
	archive, err := a.stat(ctx, b.Archive)
	if errors.Is(err, core.ErrNotFound) {
		if _, gone := a.stat(ctx, metaKey(id)); errors.Is(gone, core.ErrNotFound) {
			return core.Backup{}, 0, gone // deleted meanwhile
		}
		return core.Backup{}, 0, core.Errorf(core.ErrDamaged, "its archive is not there")
	}
	if err != nil {
		return core.Backup{}, 0, err
	}
	return b, archive.Version, fits(b, archive.Size)
}

// document reads metadata, whose archive may be missing.
func (a *agent) document(ctx context.Context, id core.ID) (core.Backup, error) {
	_, doc, err := a.fetch(ctx, metaKey(id))
	if err != nil {
		return core.Backup{}, err
	}
	return core.DecodeBackup(id, doc)
}

func fits(b core.Backup, size int64) error {
	if size != b.Size {
		return core.Errorf(core.ErrDamaged, "its archive has %d bytes, its metadata says %d", size, b.Size)
	}
	return nil
}

// List is core.Agent's.
func (a *agent) List(ctx context.Context) iter.Seq2[core.Backup, error] {
	return func(yield func(core.Backup, error) bool) {
		ctx, done, err := a.begin(ctx)
		if err != nil {
			yield(core.Backup{}, a.named("list", "", err))
			return
		}
		defer done()
		next, stop := iter.Pull2(a.pages(ctx, "data/"))
		defer stop()
		archives := &shelf{next: next, sizes: map[string]int64{}}
		for key, err := range a.keys(ctx, "meta/") {
			id, ok := idOf(key)
			if err == nil && !ok {
				continue
			}
			if err == nil {
				err = archives.reach(id)
			}
			if err != nil {
				yield(core.Backup{}, a.named("list", "", err))
				return
			}
			b, err := a.listed(ctx, id, archives)
			if errors.Is(err, core.ErrNotFound) {
				continue // deleted meanwhile
			}
			if err != nil {
				b = core.Backup{ID: id}
			}
			if !yield(b, a.named("list", id, err)) {
				return
			}
		}
	}
}

// listed reads metadata of a list, whose archive another list has.
func (a *agent) listed(ctx context.Context, id core.ID, archives *shelf) (core.Backup, error) {
	b, err := a.document(ctx, id)
	if err != nil {
		return b, err
	}
	if size, ok := archives.sizes[b.Archive]; ok {
		return b, fits(b, size)
	}
	return a.read(ctx, id) // it came later, or is not there
}

// A shelf is the list of archives, as far as that of metadata has come: a request
// for each archive would be one too many.
type shelf struct {
	next  func() (response, error, bool)
	sizes map[string]int64
	last  string
	ended bool
}

// reach reads on until all archives of an id have come, and forgets those before.
func (s *shelf) reach(id core.ID) error {
	first := "data/" + string(id)
	last := first + ".~" // no extension comes after
	maps.DeleteFunc(s.sizes, func(key string, _ int64) bool { return key < first })
	for !s.ended && s.last < last {
		page, err, ok := s.next()
		if !ok || err != nil {
			s.ended = true
			return err
		}
		maps.Copy(s.sizes, page.Sizes)
		if n := len(page.Keys); n > 0 {
			s.last = page.Keys[n-1]
		}
	}
	return nil
}

// Open is core.Agent's.
func (a *agent) Open(ctx context.Context, id core.ID) (core.Archive, error) {
	var opened core.Archive
	err := a.call(ctx, "open", id, func(ctx context.Context) error {
		b, version, err := a.readPinned(ctx, id)
		if err == nil {
			opened = &archive{a, b, version}
		}
		return err
	})
	return opened, err
}

type archive struct {
	agent   *agent
	meta    core.Backup
	version int64
}

func (r *archive) Backup() core.Backup { return r.meta }
func (r *archive) Close() error        { return nil }

func (r *archive) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	end := off + n
	if n < 0 {
		end = r.meta.Size
	}
	if off < 0 || off > r.meta.Size || end > r.meta.Size || end < off {
		return nil, r.agent.named("read", r.meta.ID, core.Errorf(core.ErrInvalid, "%d bytes from %d are not in an archive of %d", n, off, r.meta.Size))
	}
	_, done, err := r.agent.begin(ctx)
	if err != nil {
		return nil, r.agent.named("read", r.meta.ID, err)
	}
	done()
	return r.reader(ctx, off, end), nil
}

func (r *archive) reader(ctx context.Context, off, end int64) *reader {
	in := &reader{archive: r, off: off, end: end, crc: crc64nvme.New()}
	in.ctx, in.cancel = r.agent.bound(ctx)
	if off == 0 && end == r.meta.Size {
		in.sha = sha256.New()
	}
	return in
}

// A reader reads one range, and checks what it covers whole. The range is asked
// for when it is read first.
type reader struct {
	*archive
	ctx    context.Context
	cancel func()
	off    int64
	end    int64

	body   io.ReadCloser
	piece  [PartSize]byte
	buf    []byte      // what is left of the piece
	sha    hash.Hash   // of all, where the range is the archive
	crc    hash.Hash64 // of the chunk that off lies in
	inside bool        // whether that was covered from its start
	err    error
}

func (r *reader) Close() error {
	r.err, r.buf = core.ErrClosed, nil
	r.cancel()
	if r.body != nil {
		_ = r.body.Close() // all that was wanted of it was read, or nothing is any more
	}
	return nil
}

func (r *reader) Read(p []byte) (int, error) {
	if len(r.buf) == 0 && r.err == nil {
		r.err = r.fill()
	}
	if len(r.buf) == 0 && r.err != nil {
		return 0, r.err
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}

// fill fetches the next piece. It ends with a chunk, so that no byte of a chunk
// that is wrong is followed by io.EOF.
func (r *reader) fill() error {
	if r.off == r.end {
		return r.last()
	}
	size := int64(PartSize)
	chunk := r.meta.Chunks.Size
	if chunk > 0 {
		if r.off%chunk == 0 {
			r.inside = true
			r.crc.Reset()
		}
		size = min(size, chunk-r.off%chunk)
	}
	got := r.piece[:min(size, r.end-r.off)]
	if err := r.fetch(got); err != nil {
		return r.agent.named("read", r.meta.ID, err)
	}
	if r.sha != nil {
		r.sha.Write(got)
	}
	r.crc.Write(got)
	r.off += int64(len(got))
	if chunk > 0 && r.inside && (r.off%chunk == 0 || r.off == r.meta.Size) {
		if core.CRC64(r.crc.Sum64()) != r.meta.Chunks.CRC64NVME[(r.off-1)/chunk] {
			return r.agent.named("read", r.meta.ID, core.Errorf(core.ErrDamaged, "the chunk that ends at byte %d is not what was stored", r.off))
		}
	}
	r.buf = got
	return nil
}

// fetch fills p with the bytes from off on.
func (r *reader) fetch(p []byte) error {
	_, done, err := r.agent.begin(r.ctx)
	if err != nil {
		return err
	}
	defer done()
	if r.body == nil {
		got, err := r.agent.step(r.ctx, conformance.Step{Op: conformance.StepRead, Key: r.meta.Archive, Size: int(r.end - r.off)},
			request{Op: get, Key: r.meta.Archive, Off: r.off, N: r.end - r.off, Pinned: r.version})
		if err != nil {
			return err
		}
		r.body = got.Body
	}
	n, err := io.ReadFull(r.body, p)
	switch {
	case err == nil:
		return nil
	case r.ctx.Err() != nil:
		return context.Cause(r.ctx)
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return core.Errorf(core.ErrDamaged, "it ends %d bytes early", r.end-r.off-int64(n))
	}
	return err
}

func (r *reader) last() error {
	if r.sha != nil && hex.EncodeToString(r.sha.Sum(nil)) != r.meta.SHA256 {
		return r.agent.named("read", r.meta.ID, core.Errorf(core.ErrDamaged, "its SHA-256 is not what was stored"))
	}
	return io.EOF
}
