package fakegcs

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A resource is an object as JSON.
type resource struct {
	Kind                    string            `json:"kind,omitempty"`
	ID                      string            `json:"id,omitempty"`
	Name                    string            `json:"name,omitempty"`
	Bucket                  string            `json:"bucket,omitempty"`
	Generation              string            `json:"generation,omitempty"`
	Metageneration          string            `json:"metageneration,omitempty"`
	ContentType             string            `json:"contentType,omitempty"`
	StorageClass            string            `json:"storageClass,omitempty"`
	Size                    string            `json:"size,omitempty"`
	MD5Hash                 string            `json:"md5Hash,omitempty"`
	CRC32C                  string            `json:"crc32c,omitempty"`
	Etag                    string            `json:"etag,omitempty"`
	MediaLink               string            `json:"mediaLink,omitempty"`
	ComponentCount          int64             `json:"componentCount,omitempty"`
	KMSKeyName              string            `json:"kmsKeyName,omitempty"`
	TimeCreated             string            `json:"timeCreated,omitempty"`
	Updated                 string            `json:"updated,omitempty"`
	Metadata                map[string]string `json:"metadata,omitempty"`
	TemporaryHold           bool              `json:"temporaryHold,omitempty"`
	EventBasedHold          bool              `json:"eventBasedHold,omitempty"`
	Retention               *retention        `json:"retention,omitempty"`
	RetentionExpirationTime string            `json:"retentionExpirationTime,omitempty"`
}

type retention struct {
	Mode            string    `json:"mode"`
	RetainUntilTime time.Time `json:"retainUntilTime"`
}

// An object is one generation. It does not change, but for its holds.
type object struct {
	resource
	name       string
	generation int64
	content    content
	size       int64
	crc        uint32
	expires    time.Time // of the bucket's retention
}

// A draft is an object that is about to be created.
type draft struct {
	resource              // as it was asked for
	conditions url.Values // of the request
	content    content
	size       int64
	crc        uint32
	md5        []byte // nil where it is composed
	components int64
	class      string // of what it is composed of
	sums       []sum  // that its bytes have to have
}

// A sum is a checksum that a client gave: crc32c or md5, as base64.
type sum struct{ name, value string }

// create makes the object of a draft, where everything holds at this instant. The
// server is locked. The content is the object's then, or given up.
func (q *request) create(b *bucket, d draft) (*object, error) {
	o, err := q.check(b, d)
	if err != nil {
		q.server.release(d.content)
		return nil, err
	}
	b.put(q.server, o)
	return o, nil
}

func (q *request) check(b *bucket, d draft) (*object, error) {
	if err := q.allowed("storage.objects.create", "object"); err != nil {
		return nil, err
	}
	old := b.live[d.Name]
	if old != nil {
		if err := q.allowed("storage.objects.delete", "object"); err != nil {
			return nil, err
		}
	}
	if err := conditions(d.conditions, old); err != nil {
		return nil, err
	}
	if err := d.verify(); err != nil {
		return nil, err
	}
	if err := q.protected(b, old); err != nil {
		return nil, err
	}
	if d.Retention != nil {
		if !b.ObjectRetention {
			return nil, invalid("Object retention is not enabled for bucket %s.", b.name)
		}
		if err := q.allowed("storage.objects.setRetention", "object"); err != nil {
			return nil, err
		}
	}
	if d.KMSKeyName != "" {
		return nil, invalid("kmsKeyName is not a field that can be written.")
	}
	return q.object(b, d)
}

// object is what a draft becomes.
func (q *request) object(b *bucket, d draft) (*object, error) {
	now := q.server.options.Now()
	q.server.last = max(q.server.last+1, now.UnixMicro())
	o := &object{resource: d.resource, name: d.Name, generation: q.server.last, content: d.content, size: d.size, crc: d.crc}
	o.Kind, o.Bucket = "storage#object", b.name
	o.Generation, o.Metageneration = strconv.FormatInt(o.generation, 10), "1"
	o.ID = b.name + "/" + o.name + "/" + o.Generation
	o.MediaLink = "http://" + q.Host + "/storage/v1/b/" + b.name + "/o/" + url.PathEscape(o.name) + "?generation=" + o.Generation + "&alt=media"
	o.Etag = base64.StdEncoding.EncodeToString(binary.AppendVarint(nil, o.generation))
	o.Size, o.CRC32C = strconv.FormatInt(d.size, 10), encodeCRC(d.crc)
	o.MD5Hash = base64.StdEncoding.EncodeToString(d.md5)
	o.ComponentCount = d.components
	o.KMSKeyName = d.conditions.Get("kmsKeyName")
	o.TimeCreated, o.Updated = stamp(now), stamp(now)
	switch {
	case d.class == "" && o.StorageClass == "":
		o.StorageClass = b.StorageClass
	case d.class != "" && o.StorageClass != "" && d.class != o.StorageClass:
		return nil, invalid("The storage class of a composite object is that of its components, %s.", d.class)
	case d.class != "":
		o.StorageClass = d.class
	}
	if b.Retention > 0 {
		o.expires = now.Add(b.Retention)
		o.RetentionExpirationTime = stamp(o.expires)
	}
	o.EventBasedHold = o.EventBasedHold || b.EventBasedHold
	return o, nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func encodeCRC(crc uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))
}

// verify compares the bytes with the checksums that came with them.
func (d draft) verify() error {
	all := d.sums
	if d.CRC32C != "" {
		all = append(all, sum{"crc32c", d.CRC32C})
	}
	if d.MD5Hash != "" && d.components == 0 {
		all = append(all, sum{"md5", d.MD5Hash})
	}
	for _, want := range all {
		switch want.name {
		case "crc32c":
			if got := encodeCRC(d.crc); got != want.value {
				return invalid("Provided CRC32C %q doesn't match calculated CRC32C %q.", want.value, got)
			}
		case "md5":
			if got := base64.StdEncoding.EncodeToString(d.md5); len(d.md5) == md5.Size && got != want.value {
				return invalid("Provided MD5 hash %q doesn't match calculated MD5 hash %q.", want.value, got)
			}
		}
	}
	return nil
}

// conditions are those of a request on the live object, which may be nil.
func conditions(query url.Values, o *object) error {
	var generation int64
	if o != nil {
		generation = o.generation
	}
	for name, holds := range map[string]func(want int64) bool{
		"ifGenerationMatch":     func(want int64) bool { return want == generation },
		"ifGenerationNotMatch":  func(want int64) bool { return want != generation },
		"ifMetagenerationMatch": func(want int64) bool { return o != nil && strconv.FormatInt(want, 10) == o.Metageneration },
	} {
		if !query.Has(name) {
			continue
		}
		want, err := strconv.ParseInt(query.Get(name), 10, 64)
		if err != nil {
			return invalid("Invalid value for %s.", name)
		}
		if !holds(want) {
			return conditionNotMet()
		}
	}
	return nil
}

// protected says whether an object may be neither deleted nor replaced. The server is
// locked.
func (q *request) protected(b *bucket, o *object) error {
	if o == nil {
		return nil
	}
	what := fmt.Sprintf("Object '%s/%s' is", b.name, o.name)
	for hold, on := range map[string]bool{"Temporary": o.TemporaryHold, "Event-Based": o.EventBasedHold} {
		if on {
			return &refusal{http.StatusForbidden, "objectUnderActiveHold", what + " under active " + hold + " hold and cannot be deleted, overwritten or archived until hold is removed."}
		}
	}
	until := o.expires
	if o.Retention != nil && o.Retention.RetainUntilTime.After(until) {
		until = o.Retention.RetainUntilTime
	}
	if until.After(q.server.options.Now()) {
		return &refusal{http.StatusForbidden, "retentionPolicyNotMet", what + " subject to bucket's retention policy or object retention and cannot be deleted or overwritten until " + until.UTC().Format(time.RFC3339Nano)}
	}
	return nil
}

// Hold puts a live object under a hold, temporary or event-based, or under none.
func (s *Server) Hold(bucket, name string, temporary, eventBased bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucket]
	if b == nil || b.live[name] == nil {
		return noObject(bucket, name)
	}
	o := b.live[name]
	o.TemporaryHold, o.EventBasedHold = temporary, eventBased
	return nil
}
