package reference

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"sync"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

func brokenReads() []mutant {
	return []mutant{
		{name: "compares the length alone", kills: "D01", also: []string{"D04"}, with: trusting(func([]byte, core.Backup) bool { return true })},
		{name: "does not check ranges", kills: "D01", with: onAgent(func(a core.Agent, ns conformance.Namespace, raw conformance.Raw) *broken {
			return &broken{open: func(ctx context.Context, id core.ID) (core.Archive, error) {
				opened, err := a.Open(ctx, id)
				if err != nil {
					return nil, err
				}
				return &unchecked{opened.(*archive), func(b core.Backup) ([]byte, error) { return raw.Get(ctx, ns, b.Archive) }}, nil
			}}
		})},
		{name: "takes a hash that goes with the object", kills: "D04", with: func(r *rig) {
			var mu sync.Mutex
			known := map[string]bool{}
			trusting(func(data []byte, meta core.Backup) bool {
				mu.Lock()
				defer mu.Unlock()
				sum := sha256.Sum256(data)
				return known[hex.EncodeToString(sum[:])]
			})(r)
			inner := r.agent
			r.agent = func(a core.Agent, ns conformance.Namespace, raw conformance.Raw) *broken {
				b := inner(a, ns, raw)
				b.upload = func(ctx context.Context, src core.Source) error {
					err := a.Upload(ctx, src)
					if sealed, sealErr := src.Backup(ctx); err == nil && sealErr == nil {
						mu.Lock()
						defer mu.Unlock()
						known[sealed.SHA256] = true
					}
					return err
				}
				return b
			}
		}},
		{name: "does not see that an archive is short", kills: "D02", also: []string{"B08"}, with: lenient(func(have, want int64) bool { return have < want })},
		{name: "ignores surplus bytes", kills: "D03", with: lenient(func(have, want int64) bool { return have > want })},
		{name: "takes an early end for the end", kills: "D02", with: onRange(func(_ *archive, _ context.Context, _, _ int64, r io.ReadCloser) io.ReadCloser {
			return &patient{r, func(err error) bool { return errors.Is(err, core.ErrChanged) }}
		})},
		{name: "ends well when the archive is deleted", kills: "H03", racy: true, with: onRange(func(_ *archive, _ context.Context, _, _ int64, r io.ReadCloser) io.ReadCloser {
			return &patient{r, func(err error) bool { return errors.Is(err, core.ErrNotFound) }}
		})},
		{name: "unpacks what looks packed", kills: "D11", with: onRange(func(_ *archive, _ context.Context, _, _ int64, r io.ReadCloser) io.ReadCloser {
			return &unpacking{r: r}
		})},
		{name: "a goroutine for each download", kills: "G03", racy: true, with: func(r *rig) {
			ending := r.ending
			onRange(func(_ *archive, _ context.Context, _, _ int64, in io.ReadCloser) io.ReadCloser {
				go func() { <-ending }()
				return in
			})(r)
		}},
		{name: "a goroutine for each upload that fails", kills: "G03", racy: true, with: func(r *rig) {
			ending := r.ending
			onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
				err := a.Upload(ctx, src)
				if err != nil {
					go func() { <-ending }()
				}
				return err
			})(r)
		}},
	}
}

// trusting delivers a damaged archive of the right size where believe says so.
func trusting(believe func(data []byte, meta core.Backup) bool) func(*rig) {
	return onAgent(func(a core.Agent, ns conformance.Namespace, raw conformance.Raw) *broken {
		return &broken{open: func(ctx context.Context, id core.ID) (core.Archive, error) {
			opened, err := a.Open(ctx, id)
			if err != nil {
				return nil, err
			}
			return &ranged{opened.(*archive), func(in *archive, ctx context.Context, off, n int64, r io.ReadCloser) io.ReadCloser {
				data, err := raw.Get(ctx, ns, in.meta.Archive)
				if err != nil || int64(len(data)) != in.meta.Size || !believe(data, in.meta) {
					return r
				}
				return &believer{r, bytes.NewReader(data[off:]), n}
			}}, nil
		}}
	})
}

// A believer reads raw bytes where the checked reader says that they are damaged.
type believer struct {
	io.ReadCloser
	raw  *bytes.Reader
	left int64
}

func (b *believer) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		_, _ = b.raw.Seek(int64(n), io.SeekCurrent) // in memory
		b.left -= int64(n)
	}
	if err == nil || !errors.Is(err, core.ErrDamaged) {
		return n, err
	}
	if b.left >= 0 && b.left < int64(len(p)) {
		p = p[:b.left]
	}
	if n, err = b.raw.Read(p); len(p) == 0 {
		return 0, io.EOF
	}
	b.left -= int64(n)
	return n, err
}

// unchecked reads ranges, but not whole archives, without a look at them.
type unchecked struct {
	*archive
	data func(core.Backup) ([]byte, error)
}

func (u *unchecked) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	r, err := u.archive.Range(ctx, off, n)
	if err != nil || n < 0 {
		return r, err
	}
	data, err := u.data(u.meta)
	if err != nil || off+n > int64(len(data)) {
		return r, nil
	}
	return cutReader{bytes.NewReader(data[off : off+n]), r}, nil
}

// lenient takes metadata of an archive of another size for good.
func lenient(good func(have, want int64) bool) func(*rig) {
	return onAgent(func(a core.Agent, ns conformance.Namespace, raw conformance.Raw) *broken {
		return &broken{get: func(ctx context.Context, id core.ID) (core.Backup, error) {
			b, err := a.Get(ctx, id)
			doc, rawErr := raw.Get(ctx, ns, metaKey(id))
			if !errors.Is(err, core.ErrDamaged) || rawErr != nil {
				return b, err
			}
			read, bad := core.DecodeBackup(id, doc)
			data, rawErr := raw.Get(ctx, ns, read.Archive)
			if bad == nil && rawErr == nil && good(int64(len(data)), read.Size) {
				return read, nil
			}
			return b, err
		}}
	})
}

// patient takes some errors for the end.
type patient struct {
	io.ReadCloser
	end func(error) bool
}

func (p *patient) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	if err != nil && p.end(err) {
		err = io.EOF
	}
	return n, err
}

// unpacking is an HTTP client that knows better.
type unpacking struct {
	r  io.ReadCloser
	in io.Reader
}

func (u *unpacking) Read(p []byte) (int, error) {
	if u.in == nil {
		head := make([]byte, 2)
		n, err := io.ReadFull(u.r, head)
		u.in = io.MultiReader(bytes.NewReader(head[:n]), u.r)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return 0, err
		}
		if n == 2 && head[0] == 0x1f && head[1] == 0x8b {
			if z, err := gzip.NewReader(u.in); err == nil {
				u.in = z
			}
		}
	}
	return u.in.Read(p)
}

func (u *unpacking) Close() error { return u.r.Close() }
