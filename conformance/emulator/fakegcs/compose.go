package fakegcs

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// mostSources is how many objects are composed at once.
const mostSources = 32

// compose makes one object of several, without copying bytes.
func (q *request) compose(w http.ResponseWriter, bucket, name string) error {
	raw, err := io.ReadAll(io.LimitReader(q.Body, 1<<20))
	if err != nil {
		return brokenOff(err)
	}
	var asked struct {
		Destination   resource `json:"destination"`
		SourceObjects []source `json:"sourceObjects"`
		DeleteSources bool     `json:"deleteSourceObjects"`
	}
	if err := json.Unmarshal(raw, &asked); err != nil {
		return &refusal{http.StatusBadRequest, "parseError", "Parse Error"}
	}
	switch n := len(asked.SourceObjects); {
	case n == 0:
		return &refusal{http.StatusBadRequest, "required", "You must provide at least one source component."}
	case n > mostSources:
		return invalid("The number of source components provided (%d) exceeds the maximum (%d)", n, mostSources)
	}
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	b, err := q.bucket(bucket)
	if err != nil {
		return err
	}
	d := draft{resource: asked.Destination, conditions: q.query}
	d.Name = name
	sources, err := q.sources(b, asked.SourceObjects, asked.DeleteSources)
	if err != nil {
		return err
	}
	if err := d.of(sources); err != nil {
		return err
	}
	q.server.share(d.content)
	o, err := q.create(b, d)
	if err != nil {
		return err
	}
	if asked.DeleteSources {
		for _, s := range sources {
			b.remove(q.server, s.name)
		}
	}
	writeJSON(w, http.StatusOK, q.partial(o.resource))
	return nil
}

// A source is an object that another is composed of.
type source struct {
	Name          string     `json:"name"`
	Generation    generation `json:"generation"`
	Preconditions *struct {
		IfGenerationMatch generation `json:"ifGenerationMatch"`
	} `json:"objectPreconditions"`
}

// A generation is a number in JSON, with or without quotes.
type generation int64

func (g *generation) UnmarshalJSON(text []byte) error {
	if len(text) > 1 && text[0] == '"' {
		text = text[1 : len(text)-1]
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	*g = generation(n)
	return err
}

// sources finds what is to be composed. The server is locked.
func (q *request) sources(b *bucket, asked []source, remove bool) (all []*object, err error) {
	if err := q.allowed("storage.objects.get", "object"); err != nil {
		return nil, err
	}
	for _, s := range asked {
		o := b.find(s.Name, int64(s.Generation))
		if o == nil {
			return nil, noObject(b.name, s.Name)
		}
		if p := s.Preconditions; p != nil {
			want := url.Values{"ifGenerationMatch": {strconv.FormatInt(int64(p.IfGenerationMatch), 10)}}
			if err := conditions(want, o); err != nil {
				return nil, err
			}
		}
		if remove {
			if err := q.allowed("storage.objects.delete", "object"); err != nil {
				return nil, err
			}
			if err := q.protected(b, o); err != nil {
				return nil, err
			}
		}
		all = append(all, o)
	}
	return all, nil
}

// of makes a draft of the bytes of objects in a row, which have to be of one class.
func (d *draft) of(sources []*object) error {
	for _, o := range sources {
		if d.class == "" {
			d.class = o.StorageClass
		}
		if o.StorageClass != d.class {
			return invalid("The components are of storage classes %s and %s.", d.class, o.StorageClass)
		}
		d.content = append(d.content, o.content...)
		d.crc = combine(d.crc, o.crc, o.size)
		d.size += o.size
		d.components += max(1, o.ComponentCount)
	}
	return nil
}

// combine is the CRC32C of two pieces in a row, of which the second has n bytes: the
// first's goes through n bytes of zeros.
func combine(first, second uint32, n int64) uint32 {
	return multiply(power(uint64(n)), first) ^ second
}

// castagnoli is the polynomial of CRC32C (RFC 3720, 12.1), reflected: the highest bit
// is the coefficient of x^0.
const castagnoli = 0x82f63b78

// multiply is the product of two polynomials modulo castagnoli.
func multiply(a, b uint32) (p uint32) {
	for ; a != 0; a <<= 1 {
		if a>>31 != 0 {
			p ^= b
		}
		b = b>>1 ^ castagnoli&-(b&1)
	}
	return p
}

// power is x^8n modulo castagnoli.
func power(n uint64) uint32 {
	p, square := uint32(1)<<31, uint32(1)<<(31-8)
	for ; n != 0; n >>= 1 {
		if n&1 != 0 {
			p = multiply(square, p)
		}
		square = multiply(square, square)
	}
	return p
}
