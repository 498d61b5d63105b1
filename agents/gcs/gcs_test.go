package gcs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/emulator/fakegcs"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// configured is the configuration of a bucket with options of the URL form.
func configured(t testing.TB, bucket, options string) *Config {
	t.Helper()
	c := new(Config)
	u, err := url.Parse("gs://" + bucket + "/app?" + options)
	if err == nil {
		err = c.SetURL(u)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// on are the options of a bucket of a server.
func on(server *emulator.FakeGCS, options string) string {
	return "part_size=1MiB&credentials=" + url.QueryEscape(server.Credentials) + "&endpoint=" + url.QueryEscape(server.URL()) + "&" + options
}

// driver is the store of a configuration.
func driver(t testing.TB, c *Config, env core.Env) *store {
	t.Helper()
	s, err := newStore(t.Context(), *c, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// A recorder remembers requests on their way, with bodies that are short.
type recorder struct {
	next http.RoundTripper // nil: every request is denied
	mu   sync.Mutex
	all  []*http.Request
	said []string
}

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	body := ""
	if q.Body != nil && q.ContentLength < 10_000 {
		text, err := io.ReadAll(q.Body)
		if err != nil {
			return nil, err
		}
		_ = q.Body.Close()
		body = string(text)
		q = q.Clone(q.Context())
		q.Body = io.NopCloser(bytes.NewReader(text))
	}
	r.mu.Lock()
	r.all, r.said = append(r.all, q.Clone(context.Background())), append(r.said, body)
	r.mu.Unlock()
	if r.next != nil {
		return r.next.RoundTrip(q)
	}
	return refuse(q, http.StatusForbidden, "forbidden", "By the test."), nil
}

func (r *recorder) seen() ([]*http.Request, []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all), slices.Clone(r.said)
}

// partsOf cuts bytes into parts of a size.
func partsOf(b []byte, size int) (all []object.Part) {
	for off := 0; off < len(b); off += size {
		piece := b[off:min(off+size, len(b))]
		all = append(all, object.Part{Index: len(all), Offset: int64(off), Size: int64(len(piece)), CRC64: prove.Sum(piece)})
	}
	return all
}

// send puts parts of bytes, several at once where they may come in any order.
func send(ctx context.Context, m object.Multipart, b []byte, parts []object.Part) error {
	each, ctx := errgroup.WithContext(ctx)
	each.SetLimit(8)
	if _, ordered := m.(object.Ordered); ordered {
		each.SetLimit(1)
	}
	for _, p := range parts {
		each.Go(func() error { return m.Put(ctx, p, prove.Section(b[p.Offset:p.Offset+p.Size])) })
	}
	return each.Wait()
}

const someToken = "0123456789abcdef"

// Thousands of parts become one object, by levels, and nothing is left of them.
func TestManyParts(t *testing.T) {
	server := fake.Get(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	for _, n := range []int{1, 32, 33, 1025} {
		c := configured(t, bucket.Name, on(server, "kms_key="+someKey))
		c.Prefix = fmt.Sprint("of-", n)
		s := driver(t, c, core.Env{})
		body := prove.Noise(3*n - 1)
		parts := partsOf(body, 3)
		m, err := s.Begin(t.Context(), "data/x.tar.zst", someToken)
		if err == nil {
			err = send(t.Context(), m, body, parts)
		}
		if err != nil {
			t.Fatal(err)
		}
		o, err := m.Commit(t.Context(), parts)
		if err != nil || o.Size != int64(len(body)) || !o.Summed || o.Sum != prove.Sum(body) || o.Token != someToken {
			t.Fatalf("%d parts: stored as %+v, %v", n, o, err)
		}
		_, err = m.Commit(t.Context(), parts)
		prove.Kind(t, "a second commit", err, core.ErrExists)
		if got, err := bucket.Get(t.Context(), conformance.Namespace(c.Prefix), "data/x.tar.zst"); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d parts: %d bytes, %v", n, len(got), err)
		}
		attrs, err := s.look(t.Context(), "data/x.tar.zst")
		if err != nil || attrs.ComponentCount != int64(n) || attrs.KMSKeyName != someKey {
			t.Errorf("%d parts: composed of %d with key %q, %v", n, attrs.ComponentCount, attrs.KMSKeyName, err)
		}
		for found, err := range s.Multiparts(t.Context(), "data/x.tar.zst") {
			if err == nil && found.Token() == someToken {
				err = found.Abort(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if left := server.Names(bucket.Name, c.Prefix+"/"); !slices.Equal(left, []string{c.Prefix + "/data/x.tar.zst"}) {
			t.Errorf("%d parts: left are %q", n, left)
		}
		_, err = m.Commit(t.Context(), parts)
		prove.Kind(t, "a commit without parts", err, core.ErrNotFound)
	}
}

// Parts of a resumed upload are those that the list has, whatever else lies there, and a
// commit makes an object of the parts that were meant, or none.
func TestPartsByList(t *testing.T) {
	server := fake.Get(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	s := driver(t, configured(t, bucket.Name, on(server, "")), core.Env{})
	s.page = 2
	m, err := s.Begin(t.Context(), "data/x.tar.zst", someToken)
	if err != nil {
		t.Fatal(err)
	}
	body := prove.Noise(5000)
	parts := partsOf(body, 1000)
	if err := send(t.Context(), m, body, parts); err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), m, body, parts[:1]); err != nil {
		t.Errorf("the same part again: %v", err)
	}
	for _, key := range []string{
		"tmp/data/x.tar.zst/" + someToken + "/notes", "tmp/data/x.tar.zst/" + someToken + "/00001-short", "tmp/part",
		"tmp/data/x.tar.zst/SHOUTED/00000-" + strings.Repeat("0", 16) + "-00000000", "tmp/data/x.tar.zst.asc/fedcba9876543210/00000-" + strings.Repeat("0", 16) + "-00000000",
	} {
		if err := bucket.Put(t.Context(), "app", key, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	var found []string
	for m, err := range s.Multiparts(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		have, err := m.Parts(t.Context())
		found = append(found, fmt.Sprint(m.Key(), " ", m.Token(), " ", len(have), " ", err))
		if m.Started().IsZero() {
			t.Errorf("%s has no time", m.Key())
		}
	}
	if want := []string{"data/x.tar.zst.asc fedcba9876543210 0 <nil>", "data/x.tar.zst " + someToken + " 5 <nil>"}; !slices.Equal(found, want) {
		t.Errorf("uploads are %q, want %q", found, want)
	}
	other := parts[2]
	other.CRC64++
	_, err = m.Commit(t.Context(), append(slices.Clone(parts[:2]), other))
	prove.Kind(t, "a commit of a part that is not there", err, core.ErrNotFound)
	crc, err := sumOf(prove.Section(body[1000:2000]), parts[1].CRC64)
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Put(t.Context(), "app", m.(*composite).dir()+partName(parts[1], crc), body[:1000]); err != nil {
		t.Fatal(err)
	}
	if have, err := m.Parts(t.Context()); err != nil || len(have) != 4 {
		t.Errorf("%d parts, where one has other bytes now, %v", len(have), err)
	}
	_, err = m.Commit(t.Context(), parts)
	prove.Kind(t, "a commit of a part that has other bytes now", err, core.ErrChanged)
	_, err = s.Stat(t.Context(), "data/x.tar.zst")
	prove.Kind(t, "the object", err, core.ErrNotFound)
}

// A source that gives other bytes than when its checksum was computed is found out
// before anything is sent.
func TestChangedBytes(t *testing.T) {
	rec := new(recorder)
	s := driver(t, configured(t, "bucket", "endpoint=http://127.0.0.1:1&emulator=true"), core.Env{Transport: rec})
	p := partsOf(prove.Noise(1000), 1000)[0]
	prove.Kind(t, "a part", (&composite{store: s, key: "data/x", token: someToken}).Put(t.Context(), p, prove.Section(prove.Noise(999))), core.ErrChanged)
	_, err := s.Put(t.Context(), "meta/x", prove.Section([]byte("x")), p.CRC64)
	prove.Kind(t, "an object", err, core.ErrChanged)
	if all, _ := rec.seen(); len(all) > 0 {
		t.Errorf("%d requests", len(all))
	}
}

// Another upload that goes on with the same parts may have committed and removed them
// between a part that was there and the look at it: that is not another's backup.
func TestPartOfAnother(t *testing.T) {
	server := fake.Get(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	c := configured(t, bucket.Name, on(server, ""))
	body := prove.Noise(1000)
	other, err := driver(t, c, core.Env{}).Begin(t.Context(), "data/x.tar.zst", someToken)
	if err == nil {
		err = send(t.Context(), other, body, partsOf(body, 1000))
	}
	if err != nil {
		t.Fatal(err)
	}
	met := 0
	rt := prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
		r, err := http.DefaultTransport.RoundTrip(q)
		if err == nil && r.StatusCode == http.StatusPreconditionFailed {
			met++
			err = other.Abort(t.Context())
		}
		return r, err
	})
	m, err := driver(t, c, core.Env{Transport: rt}).Begin(t.Context(), "data/x.tar.zst", someToken)
	if err != nil {
		t.Fatal(err)
	}
	prove.Kind(t, "a part that was there", send(t.Context(), m, body, partsOf(body, 1000)), core.ErrNotFound)
	if met != 1 {
		t.Errorf("met %d times", met)
	}
}

// No more parts than Concurrency are on their way at once, and as many are.
func TestConcurrency(t *testing.T) {
	server := fake.Get(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	gate := &meeting{next: http.DefaultTransport, want: 3, all: make(chan struct{})}
	a := prove.Open(t, configured(t, bucket.Name, on(server, "concurrency=3")), core.Env{Transport: gate})
	body := prove.Noise(7 * minPart)
	prove.Holds(t, a, prove.Uploaded(t, a, body), body)
	if gate.most != 3 {
		t.Errorf("%d parts at once, want 3", gate.most)
	}
}

// A meeting holds parts until as many as wanted are there.
type meeting struct {
	next http.RoundTripper
	want int
	all  chan struct{} // closed when they are

	mu        sync.Mutex
	now, most int
}

func (m *meeting) RoundTrip(q *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(q.URL.Query().Get("name"), "app/tmp/") {
		return m.next.RoundTrip(q)
	}
	m.count(1)
	defer m.count(-1)
	select {
	case <-m.all:
	case <-q.Context().Done():
		return nil, context.Cause(q.Context())
	}
	return m.next.RoundTrip(q)
}

func (m *meeting) count(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now += n
	m.most = max(m.most, m.now)
	if m.now == m.want {
		select {
		case <-m.all:
		default:
			close(m.all)
		}
	}
}
