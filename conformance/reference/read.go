package reference

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"iter"

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

func (a *agent) readPinned(ctx context.Context, id core.ID) (core.Backup, int64, error) {
	doc, err := a.step(ctx, conformance.Step{Op: conformance.StepRead, Key: metaKey(id)}, request{Op: get, Key: metaKey(id), N: -1})
	if err != nil {
		return core.Backup{}, 0, err
	}
	b, err := core.DecodeBackup(id, doc.Data)
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
	if archive.Size != b.Size {
		return core.Backup{}, 0, core.Errorf(core.ErrDamaged, "its archive has %d bytes, its metadata says %d", archive.Size, b.Size)
	}
	return b, archive.Version, nil
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
		for key, err := range a.keys(ctx, "meta/") {
			if err != nil {
				yield(core.Backup{}, a.named("list", "", err))
				return
			}
			id, ok := idOf(key)
			if !ok {
				continue
			}
			b, err := a.read(ctx, id)
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
	in := &reader{agent: r.agent, ctx: ctx, meta: r.meta, version: r.version, off: off, end: end}
	in.check()
	return in, nil
}

// A reader reads one range, and checks what it covers whole.
type reader struct {
	agent   *agent
	ctx     context.Context
	meta    core.Backup
	version int64
	off     int64
	end     int64

	buf    []byte
	sha    hash.Hash   // of all, where the range is the archive
	crc    hash.Hash64 // of the chunk that off lies in
	inside bool        // whether that was covered from its start
	err    error
}

func (r *reader) check() {
	r.crc = crc64nvme.New()
	if r.off == 0 && r.end == r.meta.Size {
		r.sha = sha256.New()
	}
}

func (r *reader) Close() error {
	r.err, r.buf = core.ErrClosed, nil
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
	size = min(size, r.end-r.off)
	got, err := r.fetch(size)
	if err != nil {
		return r.agent.named("read", r.meta.ID, err)
	}
	if r.sha != nil {
		r.sha.Write(got)
	}
	r.crc.Write(got)
	r.off += size
	if chunk > 0 && r.inside && (r.off%chunk == 0 || r.off == r.meta.Size) {
		if core.CRC64(r.crc.Sum64()) != r.meta.Chunks.CRC64NVME[(r.off-1)/chunk] {
			return r.agent.named("read", r.meta.ID, core.Errorf(core.ErrDamaged, "the chunk that ends at byte %d is not what was stored", r.off))
		}
	}
	r.buf = got
	return nil
}

func (r *reader) fetch(size int64) ([]byte, error) {
	_, done, err := r.agent.begin(r.ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	got, err := r.agent.step(r.ctx, conformance.Step{Op: conformance.StepRead, Key: r.meta.Archive, Size: int(size)},
		request{Op: get, Key: r.meta.Archive, Off: r.off, N: size, Pinned: r.version})
	if err == nil && int64(len(got.Data)) != size {
		err = core.Errorf(core.ErrDamaged, "%d of %d bytes came back", len(got.Data), size)
	}
	return got.Data, err
}

func (r *reader) last() error {
	if r.sha != nil && hex.EncodeToString(r.sha.Sum(nil)) != r.meta.SHA256 {
		return r.agent.named("read", r.meta.ID, core.Errorf(core.ErrDamaged, "its SHA-256 is not what was stored"))
	}
	return io.EOF
}
