package object

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transfer"
)

// memory is a Store that keeps everything in maps. It is a place: several agents
// may be opened over one.
type memory struct {
	limits transfer.Limits
	summed bool // whether it tells checksums and tokens of objects, as some places do
	wrong  bool // whether what it stores has another checksum
	now    func() time.Time

	mu       sync.Mutex
	objects  map[string]stored
	uploads  map[string]*parts // by token
	versions int
	requests []string
	// after is asked with what was done, when it was done; an error replaces the
	// answer, which is then lost.
	after func(request string) error
	// before is asked first; an error stops the request.
	before func(request string) error
}

type stored struct {
	Object
	body []byte
}

func newMemory() *memory {
	return &memory{
		limits: transfer.Limits{PartSize: 64 << 10, Workers: 3}, now: time.Now,
		objects: map[string]stored{}, uploads: map[string]*parts{},
	}
}

func (m *memory) do(ctx context.Context, request string, f func() error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests = append(m.requests, request)
	if m.before != nil {
		if err := m.before(request); err != nil {
			return err
		}
	}
	err := f()
	if m.after != nil {
		if lost := m.after(request); lost != nil {
			return lost
		}
	}
	return err
}

// asked returns the requests since it was called last.
func (m *memory) asked() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() { m.requests = nil }()
	return m.requests
}

func (m *memory) keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.objects))
}

func (m *memory) create(key, token string, body []byte) (Object, error) {
	if _, ok := m.objects[key]; ok {
		return Object{}, core.Errorf(core.ErrExists, "%s", key)
	}
	m.versions++
	o := Object{Key: key, Size: int64(len(body)), Version: fmt.Sprint(m.versions), Modified: m.now()}
	if m.summed {
		o.Token, o.Sum, o.Summed = token, sum(body), true
	}
	if m.wrong {
		o.Sum++
	}
	m.objects[key] = stored{o, body}
	return o, nil
}

func section(s string) *io.SectionReader {
	return io.NewSectionReader(strings.NewReader(s), 0, int64(len(s)))
}

func sum(body []byte) core.CRC64 {
	h := core.NewCRC64()
	h.Write(body)
	return core.CRC64(h.Sum64())
}

func (m *memory) Put(ctx context.Context, key string, r *io.SectionReader, crc core.CRC64) (o Object, err error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return o, &core.Error{Kind: core.ErrUnavailable, Detail: "the driver says only this"}
	}
	err = m.do(ctx, "put "+key, func() (err error) {
		if sum(body) != crc {
			return core.Errorf(core.ErrDamaged, "the place computed another checksum")
		}
		o, err = m.create(key, "", body)
		return err
	})
	return o, err
}

func (m *memory) Range(ctx context.Context, o Object, off, n int64) (r io.ReadCloser, err error) {
	err = m.do(ctx, "range "+o.Key, func() error {
		s, ok := m.objects[o.Key]
		if !ok {
			return core.Errorf(core.ErrNotFound, "%s", o.Key)
		}
		if s.Version != o.Version {
			return core.Errorf(core.ErrChanged, "%s", o.Key)
		}
		r = io.NopCloser(bytes.NewReader(s.body[off : off+n]))
		return nil
	})
	return r, err
}

func (m *memory) Stat(ctx context.Context, key string) (o Object, err error) {
	err = m.do(ctx, "stat "+key, func() error {
		s, ok := m.objects[key]
		if !ok {
			return core.Errorf(core.ErrNotFound, "%s", key)
		}
		o = s.Object
		return nil
	})
	return o, err
}

func (m *memory) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		var all []Object
		err := m.do(ctx, "list "+prefix, func() error {
			for key, s := range m.objects {
				if strings.HasPrefix(key, prefix) && key > after {
					all = append(all, s.Object)
				}
			}
			return nil
		})
		slices.SortFunc(all, func(a, b Object) int { return cmp.Compare(a.Key, b.Key) })
		for _, o := range all {
			if !yield(o, nil) {
				return
			}
		}
		if err != nil {
			yield(Object{}, err)
		}
	}
}

func (m *memory) Delete(ctx context.Context, key string) error {
	return m.do(ctx, "delete "+key, func() error { delete(m.objects, key); return nil })
}

func (m *memory) Begin(ctx context.Context, key, token string) (Multipart, error) {
	p := &parts{memory: m, key: key, token: token, have: map[int]part{}}
	return p, m.do(ctx, "begin "+key, func() error { m.uploads[token] = p; return nil })
}

func (m *memory) Multiparts(ctx context.Context, prefix string) iter.Seq2[Multipart, error] {
	return func(yield func(Multipart, error) bool) {
		var all []*parts
		if err := m.do(ctx, "multiparts "+prefix, func() error { all = slices.Collect(maps.Values(m.uploads)); return nil }); err != nil {
			yield(nil, err)
			return
		}
		for _, p := range all {
			if strings.HasPrefix(p.key, prefix) && !yield(p, nil) {
				return
			}
		}
	}
}

func (m *memory) Limits() transfer.Limits { return m.limits }
func (m *memory) Close() error            { return nil }

type part struct {
	Part
	body []byte
}

type parts struct {
	*memory
	key, token string
	have       map[int]part
}

func (p *parts) Key() string        { return p.key }
func (p *parts) Token() string      { return p.token }
func (p *parts) Started() time.Time { return time.Time{} }

func (p *parts) alive() error {
	if p.uploads[p.token] != p {
		return core.Errorf(core.ErrNotFound, "upload %s", p.token)
	}
	return nil
}

func (p *parts) Parts(ctx context.Context) (all []Part, err error) {
	err = p.do(ctx, "parts "+p.key, func() error {
		for _, have := range p.have {
			all = append(all, have.Part)
		}
		return p.alive()
	})
	return all, err
}

func (p *parts) Put(ctx context.Context, at Part, r *io.SectionReader) error {
	body, err := io.ReadAll(r)
	if err != nil {
		return &core.Error{Kind: core.ErrUnavailable, Detail: "the driver says only this"}
	}
	return p.do(ctx, fmt.Sprintf("part %d %s", at.Index, p.key), func() error {
		if sum(body) != at.CRC64 {
			return core.Errorf(core.ErrDamaged, "the place computed another checksum")
		}
		p.have[at.Index] = part{at, body}
		return p.alive()
	})
}

func (p *parts) Commit(ctx context.Context, all []Part) (o Object, err error) {
	err = p.do(ctx, "commit "+p.key, func() error {
		if err := p.alive(); err != nil {
			return err
		}
		var body []byte
		for _, at := range all {
			if p.have[at.Index].Part != at {
				return core.Errorf(core.ErrChanged, "part %d is another", at.Index)
			}
			body = append(body, p.have[at.Index].body...)
		}
		if o, err = p.create(p.key, p.token, body); err == nil {
			delete(p.uploads, p.token)
		}
		return err
	})
	return o, err
}

func (p *parts) Abort(ctx context.Context) error {
	return p.do(ctx, "abort "+p.key, func() error { delete(p.uploads, p.token); return nil })
}
