package reference

import (
	"bytes"
	"cmp"
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
	data    []byte
	version int64
	mode    fs.FileMode
}

// An upload is one object in the making.
type upload struct{ Key, Token string }

type part struct {
	data []byte
	sum  core.CRC64
}

// A request is what an agent asks a place, and a response what it says. They are
// plain values, so that they can go over a wire.
type request struct {
	Op     op
	Key    string // the object, or the prefix of a list
	Token  string // the upload
	After  string // where a list goes on
	Max    int    // entries in a page
	Off, N int64
	Index  int // of a part
	Data   []byte
	Sums   []core.CRC64 // of all parts, for a commit
	Pinned int64        // the version that a read is for; 0 means any
	Mode   fs.FileMode
}

type response struct {
	Data    []byte
	Keys    []string
	Uploads []upload
	Mode    fs.FileMode
	Size    int64
	Version int64
	Err     core.ErrorKind
}

type op string

const (
	put     op = "put"     // creates an object
	replace op = "replace" // makes or replaces one; of the back door alone
	get     op = "get"
	stat    op = "stat"
	list    op = "list"
	remove  op = "remove"
	putPart op = "put part"
	parts   op = "parts"
	commit  op = "commit"
	abort   op = "abort"
	uploads op = "uploads"
)

// A transport answers requests: a Place, or a connection to one.
type transport func(request) response

func (p *Place) do(q request) response {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.objects == nil {
		p.objects, p.uploads = map[string]object{}, map[upload][]part{}
	}
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
	case putPart:
		return p.putPart(q)
	case parts:
		return p.parts(q)
	case commit:
		return p.commit(q)
	case abort:
		delete(p.uploads, upload{q.Key, q.Token})
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
	p.objects[q.Key] = object{bytes.Clone(q.Data), p.version, q.Mode}
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
		return response{Size: size, Version: o.version, Mode: o.mode}
	}
	n := q.N
	if n < 0 {
		n = size - q.Off
	}
	return response{Data: bytes.Clone(o.data[q.Off:min(size, q.Off+n)]), Size: size, Version: o.version}
}

func (p *Place) list(q request) response {
	var keys []string
	for k := range p.objects {
		if strings.HasPrefix(k, q.Key) && k > q.After {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return response{Keys: keys[:min(len(keys), q.Max)]}
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

func (p *Place) putPart(q request) response {
	u := upload{q.Key, q.Token}
	all := p.uploads[u]
	if missing := q.Index + 1 - len(all); missing > 0 {
		all = append(all, make([]part, missing)...)
	}
	crc := crc64nvme.New()
	crc.Write(q.Data)
	if len(q.Sums) != 1 || q.Sums[0] != core.CRC64(crc.Sum64()) {
		return response{Err: core.ErrChanged}
	}
	all[q.Index] = part{bytes.Clone(q.Data), q.Sums[0]}
	p.uploads[u] = all
	return response{}
}

// parts says how many bytes an upload holds, from its start without a gap.
func (p *Place) parts(q request) response {
	var size int64
	for _, one := range p.uploads[upload{q.Key, q.Token}] {
		size += int64(len(one.data))
	}
	return response{Size: size}
}

func (p *Place) commit(q request) response {
	u := upload{q.Key, q.Token}
	all := p.uploads[u]
	var data []byte
	if len(all) != len(q.Sums) {
		return response{Err: core.ErrChanged}
	}
	for i, one := range all {
		if one.sum != q.Sums[i] {
			return response{Err: core.ErrChanged}
		}
		data = append(data, one.data...)
	}
	r := p.put(request{Op: put, Key: q.Key, Data: data, Mode: q.Mode})
	if r.Err == "" {
		delete(p.uploads, u)
	}
	return r
}
