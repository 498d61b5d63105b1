package reference

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
)

// A Place keeps objects and uploads in parts, in memory. It stands for a
// provider: each request is answered whole or not at all. It is safe for
// concurrent use. The zero Place is empty.
type Place struct {
	mu      sync.Mutex
	objects map[string]object
	uploads map[upload][]part
	version int64
}

type object struct {
	data    []byte // never changed
	sum     core.CRC64
	version int64
	mode    fs.FileMode
}

// An upload is one object in the making.
type upload struct {
	Key   string `json:"key"`
	Token string `json:"token"`
}

// A part is a piece of one. One without bytes is not there.
type part struct {
	data []byte
	sum  core.CRC64
}

// A held is what a place says of a part that it holds.
type held struct {
	Index int        `json:"index"`
	Size  int        `json:"size"`
	Sum   core.CRC64 `json:"crc64nvme"`
}

// A request is what an agent asks a place, and a response what it says.
type request struct {
	Op     op
	Key    string // the object, or the prefix of a list
	Token  string // the upload
	After  string // the mark with which the page before ended
	Max    int    // entries in a page
	Off, N int64  // N < 0 means to the end
	Index  int    // of a part
	Data   []byte
	Sums   []core.CRC64 // of Data, or of all parts for a commit
	Pinned int64        // the version that a read is for; 0 means any
	Mode   fs.FileMode
}

type response struct {
	Body    io.ReadCloser // of get; the caller closes it
	Keys    []string
	Sizes   map[string]int64 // of the objects under Keys
	More    bool             // whether there are keys after these
	Next    string           // the mark with which they are asked for
	Uploads []upload
	Parts   []held
	Mode    fs.FileMode
	Size    int64
	Sum     core.CRC64 // of the object
	Version int64
	Err     error
}

type op string

const (
	put     op = "put"     // creates an object
	replace op = "replace" // makes or replaces one; of the back door alone
	get     op = "get"
	stat    op = "stat"
	list    op = "list"
	remove  op = "remove"
	begin   op = "begin" // an upload in parts
	putPart op = "put part"
	parts   op = "parts"
	commit  op = "commit"
	abort   op = "abort"
	uploads op = "uploads"
)

// A roundTrip answers requests: a Place, or a client of one.
type roundTrip func(context.Context, request) response

func (p *Place) do(_ context.Context, q request) response {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.objects == nil {
		p.objects, p.uploads = map[string]object{}, map[upload][]part{}
	}
	u := upload{q.Key, q.Token}
	switch q.Op {
	case put, replace:
		return p.put(q)
	case get, stat:
		return p.get(q)
	case list:
		return p.list(q)
	case remove:
		delete(p.objects, q.Key)
		return response{}
	case begin:
		if _, begun := p.uploads[u]; !begun {
			p.uploads[u] = nil
		}
		return response{}
	case putPart:
		return p.putPart(u, q)
	case parts:
		return p.parts(u)
	case commit:
		return p.commit(u, q)
	case abort:
		delete(p.uploads, u)
		return response{}
	case uploads:
		return p.listUploads(q)
	}
	return response{Err: core.ErrUnsupported}
}

func (p *Place) put(q request) response {
	if _, taken := p.objects[q.Key]; taken && q.Op == put {
		return response{Err: core.ErrExists}
	}
	p.version++
	p.objects[q.Key] = object{bytes.Clone(q.Data), sumOf(q.Data), p.version, q.Mode}
	return response{Size: int64(len(q.Data)), Version: p.version}
}

func (p *Place) get(q request) response {
	o, ok := p.objects[q.Key]
	size := int64(len(o.data))
	switch {
	case !ok:
		return response{Err: core.ErrNotFound}
	case q.Pinned != 0 && q.Pinned != o.version:
		return response{Err: core.ErrChanged}
	case q.Op == stat:
		return response{Size: size, Sum: o.sum, Version: o.version, Mode: o.mode}
	case q.Off > size:
		return response{Err: core.ErrInvalid}
	}
	end := min(size, q.Off+q.N)
	if q.N < 0 {
		end = size
	}
	return response{Body: &body{p, q.Key, o.version, q.Off, end}, Size: size, Sum: o.sum, Version: o.version}
}

// A body is an object on its way out. It is looked up anew for each piece: a
// version that is not there any more breaks off.
type body struct {
	place    *Place
	key      string
	version  int64
	off, end int64
}

func (b *body) Read(p []byte) (int, error) {
	if b.off >= b.end {
		return 0, io.EOF
	}
	b.place.mu.Lock()
	o, ok := b.place.objects[b.key]
	b.place.mu.Unlock()
	switch {
	case !ok:
		return 0, core.ErrNotFound
	case o.version != b.version:
		return 0, core.ErrChanged
	}
	n := copy(p[:min(len(p), PartSize)], o.data[b.off:b.end])
	b.off += int64(n)
	return n, nil
}

func (b *body) Close() error { return nil }

// list answers with a page. Its mark is the last key.
func (p *Place) list(q request) response {
	var r response
	for k := range p.objects {
		if strings.HasPrefix(k, q.Key) && k > q.After {
			r.Keys = append(r.Keys, k)
		}
	}
	slices.Sort(r.Keys)
	if len(r.Keys) > q.Max {
		r.Keys, r.More, r.Next = r.Keys[:q.Max], true, r.Keys[q.Max-1]
	}
	r.Sizes = make(map[string]int64, len(r.Keys))
	for _, k := range r.Keys {
		r.Sizes[k] = int64(len(p.objects[k].data))
	}
	return r
}

func (p *Place) listUploads(q request) response {
	var all []upload
	for u := range p.uploads {
		if strings.HasPrefix(u.Key, q.Key) {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(a, b upload) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.Token, b.Token))
	})
	return response{Uploads: all}
}

// putPart keeps a part whose bytes are those of its checksum, if it came with one.
func (p *Place) putPart(u upload, q request) response {
	all, ok := p.uploads[u]
	sum := sumOf(q.Data)
	switch {
	case !ok:
		return response{Err: core.ErrNotFound}
	case len(q.Sums) > 0 && q.Sums[0] != sum:
		return response{Err: errFlipped}
	}
	if missing := q.Index + 1 - len(all); missing > 0 {
		all = append(all, make([]part, missing)...)
	}
	all[q.Index] = part{bytes.Clone(q.Data), sum}
	p.uploads[u] = all
	return response{}
}

// errFlipped is of kind ErrUnavailable: the same bytes, sent again, may arrive.
var errFlipped = core.Errorf(core.ErrUnavailable, "the bytes that arrived are not those of their checksum")

func (p *Place) parts(u upload) (r response) {
	for i, one := range p.uploads[u] {
		if len(one.data) > 0 {
			r.Parts = append(r.Parts, held{i, len(one.data), one.sum})
			r.Size += int64(len(one.data))
		}
	}
	return r
}

// commit makes an object of the first parts of an upload, which must be those that
// were sent.
func (p *Place) commit(u upload, q request) response {
	all, ok := p.uploads[u]
	if !ok {
		return response{Err: core.ErrNotFound}
	}
	var data []byte
	for i, sum := range q.Sums {
		if i >= len(all) || all[i].sum != sum {
			return response{Err: core.ErrChanged}
		}
		data = append(data, all[i].data...)
	}
	r := p.put(request{Op: put, Key: q.Key, Data: data, Mode: q.Mode})
	if r.Err == nil {
		delete(p.uploads, u)
	}
	return r
}

func sumOf(p []byte) core.CRC64 { return core.CRC64(crc64nvme.Checksum(p)) }
