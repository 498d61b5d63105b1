package gcs

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	raw "google.golang.org/api/storage/v1"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
	"github.com/offsite-backup/offsite/core/transport"
)

// The limits of https://cloud.google.com/storage/quotas: an object has 5 TiB at most,
// which so many parts of that size have together, and chunks of a session are multiples
// of the quantum. The number of parts is ours: a few levels of composing make one.
const (
	minPart  = 1 << 20
	maxPart  = 524 << 20
	maxParts = 10_000
	quantum  = 256 << 10
)

// Where the token of an upload, and the checksum of its bytes, stand in an object's
// metadata.
const (
	tokenKey = "offsite-token"
	sumKey   = "offsite-crc64nvme"
)

// fields are those of an object that are asked for.
const fields = "kind,name,size,generation,updated,timeCreated,metadata,crc32c,retention"

// A store is one prefix of one bucket.
type store struct {
	client
	config Config
	env    core.Env
	prefix string      // of all keys: "" or with a slash at its end
	page   int64       // most entries in a page of a list; 0: as many as the server likes
	found  atomic.Bool // whether the bucket is known to be there

	asking  turn
	session *bool    // whether archives go up in one session; nil: not known yet
	begun   sync.Map // sessions by their tokens, where there is no state folder
	claims  sync.Map // those of this store's uploads, by tokens
}

var (
	_ object.Store     = (*store)(nil)
	_ object.Protector = (*store)(nil)
	_ object.Explainer = (*store)(nil)
)

func newStore(ctx context.Context, c Config, env core.Env) (*store, error) {
	client, err := newClient(ctx, c, env)
	if err != nil {
		return nil, err
	}
	s := &store{client: client, config: c, env: env.WithDefaults(), asking: newTurn()}
	if c.Prefix != "" {
		s.prefix = c.Prefix + "/"
	}
	return s, nil
}

func (c *Config) workers() int { return cmp.Or(c.Concurrency, 8) }

func (s *store) Limits() object.Limits {
	return object.Limits{PartSize: cmp.Or(s.config.PartSize, 32<<20), MaxPart: maxPart, MaxParts: maxParts, Workers: s.config.workers()}
}

func (s *store) Close() error {
	for _, t := range s.idle {
		t.CloseIdleConnections()
	}
	return nil
}

func (s *store) at(key string) *storage.ObjectHandle { return s.bucket.Object(s.prefix + key) }

func (s *store) Put(ctx context.Context, key string, body *io.SectionReader, sum core.CRC64) (object.Object, error) {
	crc, err := sumOf(body, sum)
	if err != nil {
		return object.Object{}, err
	}
	asked := s.resource(key, "", sum, crc)
	o, err := s.insert(ctx, asked, body)
	if err != nil {
		return object.Object{}, err
	}
	return s.made(ctx, asked, o)
}

// made is an object as it was stored. One that is not what was asked for is removed: who
// looks for it is not to take it for one that is.
func (s *store) made(ctx context.Context, asked, o *raw.Object) (object.Object, error) {
	made, err := s.object(strings.TrimPrefix(asked.Name, s.prefix), o)
	if err != nil {
		return object.Object{}, err
	}
	switch {
	case o.Crc32c != asked.Crc32c:
		err = core.Errorf(core.ErrDamaged, "%s was stored with CRC32C %q, and sent with %q", made.Key, o.Crc32c, asked.Crc32c)
	case asked.Retention != nil && (o.Retention == nil || !strings.EqualFold(o.Retention.Mode, asked.Retention.Mode)):
		err = core.Errorf(core.ErrUnsupported, "%s was stored without the lock that was asked for: the server passes over object retention", made.Key)
	default:
		return made, nil
	}
	return object.Object{}, errors.Join(err, translate(opDelete, s.at(made.Key).Generation(o.Generation).Delete(ctx)))
}

// resource is what an object is to be like. Only archives are worth a cheaper class. What
// belongs to a backup is locked; a hold must be free to be released.
func (s *store) resource(key, token string, sum core.CRC64, crc crc32c) *raw.Object {
	c, archive := s.config, strings.HasPrefix(key, "data/")
	text, _ := sum.MarshalText() // which never fails
	o := &raw.Object{Name: s.prefix + key, ContentType: contentType, Crc32c: crc.String(), Metadata: map[string]string{sumKey: string(text)}}
	if token != "" {
		o.Metadata[tokenKey] = token
	}
	if archive {
		o.StorageClass = c.StorageClass
	}
	if c.Lock != "" && (archive || strings.HasPrefix(key, "meta/") || strings.HasPrefix(key, "sig/")) {
		mode := strings.ToUpper(c.Lock[:1]) + c.Lock[1:]
		o.Retention = &raw.ObjectRetention{Mode: mode, RetainUntilTime: s.env.Now().Add(c.LockFor).UTC().Format(time.RFC3339)}
	}
	return o
}

const contentType = "application/octet-stream"

// creating are the parameters of what creates an object, where there is none.
func (s *store) creating(full, how string) string {
	query := url.Values{"uploadType": {how}, "name": {full}, "ifGenerationMatch": {"0"}, "fields": {fields}, "prettyPrint": {"false"}}
	if s.config.KMSKey != "" {
		query.Set("kmsKeyName", s.config.KMSKey)
	}
	return s.base + "/upload/storage/v1/b/" + url.PathEscape(s.config.Bucket) + "/o?" + query.Encode()
}

// insert creates an object in one request of two parts: what it is like, with the
// checksum that its bytes have to have, and they.
func (s *store) insert(ctx context.Context, o *raw.Object, body *io.SectionReader) (*raw.Object, error) {
	head := new(bytes.Buffer)
	parts := multipart.NewWriter(head)
	for _, kind := range []string{"application/json", contentType} {
		w, err := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {kind}})
		if err == nil && kind != contentType {
			err = json.NewEncoder(w).Encode(o)
		}
		if err != nil {
			return nil, err
		}
	}
	tail := "\r\n--" + parts.Boundary() + "--\r\n"
	all := io.MultiReader(bytes.NewReader(head.Bytes()), body, strings.NewReader(tail))
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, s.creating(o.Name, "multipart"), all)
	if err != nil {
		return nil, err
	}
	q.ContentLength = int64(head.Len()) + body.Size() + int64(len(tail))
	q.Header.Set("Content-Type", "multipart/related; boundary="+parts.Boundary())
	made := new(raw.Object)
	_, err = s.do(opInsert, q, made)
	return made, err
}

// do makes a request and reads an answer of JSON, unless there is none or into is nil.
func (s *store) do(of op, q *http.Request, into any) (http.Header, error) {
	r, err := s.http.Do(q)
	if err != nil {
		return nil, translate(of, err)
	}
	defer r.Body.Close()
	if err = googleapi.CheckResponse(r); err == nil && into != nil && r.StatusCode != http.StatusNoContent {
		err = json.NewDecoder(r.Body).Decode(into)
	}
	return r.Header, translate(of, err)
}

// object is what the server says of an object.
func (s *store) object(key string, o *raw.Object) (object.Object, error) {
	modified, err := time.Parse(time.RFC3339, o.Updated)
	if o.Name != s.prefix+key || o.Generation == 0 || err != nil {
		return object.Object{}, core.Errorf(core.ErrUnavailable, "asked for %s, the server tells of %q, generation %d", key, o.Name, o.Generation)
	}
	made := object.Object{Key: key, Size: int64(o.Size), Version: strconv.FormatInt(o.Generation, 10), Modified: modified, Token: o.Metadata[tokenKey]}
	made.Summed = made.Sum.UnmarshalText([]byte(o.Metadata[sumKey])) == nil
	return made, nil
}

func (s *store) Stat(ctx context.Context, key string) (object.Object, error) {
	attrs, err := s.look(ctx, key)
	if err != nil {
		return object.Object{}, err
	}
	o := &raw.Object{Name: attrs.Name, Size: uint64(attrs.Size), Generation: attrs.Generation, Updated: attrs.Updated.Format(time.RFC3339Nano), Metadata: attrs.Metadata}
	return s.object(key, o)
}

// look asks for an object. What is not there may be the bucket, which not every server
// says.
func (s *store) look(ctx context.Context, key string) (*storage.ObjectAttrs, error) {
	attrs, err := s.at(key).Attrs(ctx)
	err = translate(opGet, err)
	if errors.Is(err, core.ErrNotFound) && !s.found.Load() {
		if _, e := s.listPage(ctx, s.prefix+key, "", "", 1); e != nil {
			return nil, e
		}
	}
	if err == nil || errors.Is(err, core.ErrNotFound) {
		s.found.Store(true)
	}
	return attrs, err
}

func (s *store) Protected(ctx context.Context, key string) (until time.Time, err error) {
	attrs, err := s.look(ctx, key)
	switch {
	case errors.Is(err, core.ErrNotFound):
		return until, nil
	case err != nil:
		return until, err
	case attrs.TemporaryHold || attrs.EventBasedHold:
		return until, core.Errorf(core.ErrLocked, "%s is under a hold of the bucket", key)
	}
	until = attrs.RetentionExpirationTime
	if r := attrs.Retention; r != nil && r.RetainUntil.After(until) {
		until = r.RetainUntil
	}
	return until, nil
}

func (s *store) Delete(ctx context.Context, key string) error {
	switch err := translate(opDelete, s.at(key).Delete(ctx)); {
	case errors.Is(err, core.ErrNotFound):
		return nil
	case errors.Is(err, core.ErrLocked):
		until, e := s.Protected(ctx, key)
		if e != nil || until.IsZero() {
			return err
		}
		return &core.Error{Kind: core.ErrLocked, Until: until, Detail: fmt.Sprintf("%s is protected until %s", key, until.UTC().Format(time.RFC3339)), Err: transport.Quiet{Cause: err}}
	default:
		return err
	}
}

// Range names the generation, so that bytes are of no other.
func (s *store) Range(ctx context.Context, o object.Object, off, n int64) (io.ReadCloser, error) {
	generation, err := strconv.ParseInt(o.Version, 10, 64)
	if err != nil {
		return nil, core.Errorf(core.ErrInvalid, "%q is no generation", o.Version)
	}
	q := s.raw.Objects.Get(s.config.Bucket, s.prefix+o.Key).Generation(generation).Context(ctx)
	q.Header().Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	r, err := q.Download()
	if err = translate(opGet, err); errors.Is(err, core.ErrNotFound) {
		if _, e := s.look(ctx, o.Key); e == nil {
			return nil, core.Errorf(core.ErrChanged, "%s was replaced: %w", o.Key, transport.Quiet{Cause: err})
		}
	}
	if err != nil {
		return nil, err
	}
	if err := fits(r, o, off, n); err != nil {
		_ = r.Body.Close()
		return nil, err
	}
	return &transport.Body{ReadCloser: r.Body, Left: n, Translate: func(err error) error { return translate(opGet, err) }}, nil
}

// fits compares what a server sends with what it was asked for.
func fits(r *http.Response, o object.Object, off, n int64) error {
	if got := r.Header.Get("X-Goog-Generation"); got != "" && got != o.Version {
		return core.Errorf(core.ErrChanged, "%s was replaced", o.Key)
	}
	want := fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, o.Size)
	if got := r.Header.Get("Content-Range"); got != want && (r.StatusCode != http.StatusOK || n != o.Size) {
		return core.Errorf(core.ErrUnavailable, "asked for %q, the server sent %q", want, got)
	}
	return nil
}
