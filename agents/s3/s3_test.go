package s3

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// configured is the configuration of a bucket with options of the URL form.
func configured(t testing.TB, bucket, options string) *Config {
	t.Helper()
	c := new(Config)
	u, err := url.Parse("s3://" + bucket + "/app?" + options)
	if err == nil {
		err = c.SetURL(u)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// on are the options of a bucket of a server.
func on(server *emulator.MinIO, options string) string {
	return "part_size=5MiB&endpoint=" + url.QueryEscape(server.URL) + "&" + options
}

func open(t testing.TB, c *Config, env core.Env) core.Agent {
	t.Helper()
	a, err := c.Open(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
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

// change gives a store a client with other options.
func (s *store) change(f func(*s3.Options)) { s.client = s3.New(s.client.Options(), f) }

// inPages makes a store ask for pages of so few entries.
func (s *store) inPages(n int32) {
	small := middleware.InitializeMiddlewareFunc("small pages", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
		switch list := in.Parameters.(type) {
		case *s3.ListObjectsV2Input:
			list.MaxKeys = &n
		case *s3.ListPartsInput:
			list.MaxParts = &n
		}
		return next.HandleInitialize(ctx, in)
	})
	s.change(func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error { return stack.Initialize.Add(small, middleware.Before) })
	})
}

func agent(s *store, env core.Env) core.Agent { return object.New(object.Retry(s, env), env) }

// A recorder remembers the heads of requests on their way.
type recorder struct {
	next http.RoundTripper // nil: every request is denied
	mu   sync.Mutex
	all  []*http.Request
}

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	r.mu.Lock()
	r.all = append(r.all, q.Clone(context.Background()))
	r.mu.Unlock()
	if r.next != nil {
		return r.next.RoundTrip(q)
	}
	return refuse(q, http.StatusForbidden, "AccessDenied"), nil
}

func (r *recorder) seen() []*http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*http.Request(nil), r.all...)
}

func noise(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size), byte(size >> 8)}).Read(b)
	return b
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func put(ctx context.Context, s *store, key string, b []byte) (object.Object, error) {
	return s.Put(ctx, key, section(b), core.CRC64(crc64nvme.Checksum(b)))
}

// upload stores a backup of bytes.
func upload(t testing.TB, a core.Agent, b []byte) (core.Backup, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "archive.tar.zst")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return core.Upload(t.Context(), a, file, core.Backup{Job: "app"})
}

func uploaded(t testing.TB, a core.Agent, b []byte) core.ID {
	t.Helper()
	stored, err := upload(t, a, b)
	if err != nil {
		t.Fatal(err)
	}
	return stored.ID
}

// holds demands that a backup is listed and has these bytes.
func holds(t testing.TB, a core.Agent, id core.ID, want []byte) {
	t.Helper()
	if ids, err := list(t.Context(), a); err != nil || len(ids) != 1 || ids[0] != id {
		t.Fatalf("the list is %v, %v; want %s", ids, err, id)
	}
	file := filepath.Join(t.TempDir(), "back")
	if _, err := core.Download(t.Context(), a, id, file); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes came back as %d others, %v", len(want), len(got), err)
	}
}

func list(ctx context.Context, a core.Agent) (ids []core.ID, err error) {
	for b, err := range a.List(ctx) {
		if err != nil {
			return ids, err
		}
		ids = append(ids, b.ID)
	}
	return ids, nil
}

func wantKind(t testing.TB, what string, err error, want core.ErrorKind) {
	t.Helper()
	if core.KindOf(err) != want {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

// What is stored encrypted comes back, in one request and in parts, and the bucket
// says how it is encrypted.
func TestEncryption(t *testing.T) {
	server := emulator.Start(t, "MINIO_KMS_SECRET_KEY=backups:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
	bucket := newBucket(t, server, false)
	signIn(t, server.Key)
	for options, want := range map[string]string{
		"sse=AES256":                  "AES256 ",
		"sse=aws:kms":                 "aws:kms arn:aws:kms:backups",
		"sse=aws:kms&kms_key=backups": "aws:kms arn:aws:kms:backups",
	} {
		t.Run(options, func(t *testing.T) {
			c := configured(t, bucket.Name, on(server, options))
			c.Prefix = url.PathEscape(options)
			a := open(t, c, core.Env{})
			body := noise(2*minPart + 1000)
			id := uploaded(t, a, body)
			holds(t, a, id, body)
			s := driver(t, c, core.Env{})
			for _, key := range []string{"data/" + string(id) + ".tar.zst", "meta/" + string(id) + ".json"} {
				out, err := s.head(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				if got := string(out.ServerSideEncryption) + " " + aws.ToString(out.SSEKMSKeyId); got != want {
					t.Errorf("%s is encrypted by %q, want %q", key, got, want)
				}
			}
		})
	}
}

// Parts are found on every page of their list, and committed from them.
func TestPartsInPages(t *testing.T) {
	server := minio.Get(t)
	bucket := newBucket(t, server, false)
	signIn(t, server.Key)
	s := driver(t, configured(t, bucket.Name, on(server, "")), core.Env{})
	s.inPages(2)
	const key, parts = "data/x.tar.zst", 5
	first, err := s.Begin(t.Context(), key, "0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	body := noise(parts * minPart)
	var sent []object.Part
	for i := range parts {
		b := body[i*minPart : (i+1)*minPart]
		p := object.Part{Index: i, Offset: int64(i) * minPart, Size: minPart, CRC64: core.CRC64(crc64nvme.Checksum(b))}
		sent = append(sent, p)
		if err := first.Put(t.Context(), p, section(b)); err != nil {
			t.Fatal(err)
		}
	}
	for m, err := range s.Multiparts(t.Context(), key) {
		if err != nil {
			t.Fatal(err)
		}
		have, err := m.Parts(t.Context())
		if err != nil || len(have) != parts {
			t.Fatalf("%d of %d parts are found, %v", len(have), parts, err)
		}
		o, err := m.Commit(t.Context(), sent)
		if err != nil || o.Size != int64(len(body)) || !o.Summed || o.Sum != core.CRC64(crc64nvme.Checksum(body)) || o.Token != "0123456789abcdef" {
			t.Fatalf("stored as %+v, %v", o, err)
		}
		_, err = m.Commit(t.Context(), sent)
		wantKind(t, "a second commit", err, core.ErrNotFound)
		return
	}
	t.Fatal("the upload is not listed")
}

// A commit makes an object of the parts that were meant, or none.
func TestCommitOfOtherParts(t *testing.T) {
	server := minio.Get(t)
	bucket := newBucket(t, server, false)
	signIn(t, server.Key)
	s := driver(t, configured(t, bucket.Name, on(server, "")), core.Env{})
	m, err := s.Begin(t.Context(), "data/x.tar.zst", "0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	one, other := noise(1000), noise(1001)
	p := object.Part{Size: 1000, CRC64: core.CRC64(crc64nvme.Checksum(one))}
	replaced := object.Part{Size: 1001, CRC64: core.CRC64(crc64nvme.Checksum(other))}
	if err := m.Put(t.Context(), p, section(one)); err != nil {
		t.Fatal(err)
	}
	if err := m.Put(t.Context(), replaced, section(other)); err != nil {
		t.Fatal(err)
	}
	_, err = m.Commit(t.Context(), []object.Part{p})
	wantKind(t, "a commit of a part that another replaced", err, core.ErrChanged)
	_, err = m.Commit(t.Context(), []object.Part{replaced, {Index: 1, Offset: 1001, Size: 1}})
	wantKind(t, "a commit of a part that is not there", err, core.ErrChanged)
	_, err = s.Stat(t.Context(), "data/x.tar.zst")
	wantKind(t, "the object", err, core.ErrNotFound)
}

// Servers that do not look at If-Match and Range are found out.
func TestAnswersThatDoNotFit(t *testing.T) {
	signIn(t, fakeKey)
	o := object.Object{Key: "data/x", Size: 100, Version: `"v1"`}
	for what, test := range map[string]struct {
		etag, ranges string
		n            int64
		want         core.ErrorKind
	}{
		"what was asked for":     {`"v1"`, "bytes 0-9/100", 10, ""},
		"all of it":              {`"v1"`, "", 100, ""},
		"a weak ETag":            {`W/"v1"`, "bytes 0-9/100", 10, ""},
		"an ETag without quotes": {"v1", "bytes 0-9/100", 10, ""},
		"no ETag":                {"", "bytes 0-9/100", 10, ""},
		"another version":        {`"v2"`, "bytes 0-9/100", 10, core.ErrChanged},
		"all of another version": {`"v2"`, "", 100, core.ErrChanged},
		"another range":          {`"v1"`, "bytes 10-19/100", 10, core.ErrUnavailable},
		"another size":           {`"v1"`, "bytes 0-9/99", 10, core.ErrUnavailable},
		"no range":               {`"v1"`, "", 10, core.ErrUnavailable},
	} {
		s := driver(t, configured(t, "bucket", ""), core.Env{Transport: roundTripper(func(q *http.Request) (*http.Response, error) {
			r := refuse(q, http.StatusOK, "")
			for name, value := range map[string]string{"ETag": test.etag, "Content-Range": test.ranges} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			return r, nil
		})})
		r, err := s.Range(t.Context(), o, 0, test.n)
		wantKind(t, what, err, test.want)
		if err == nil {
			_ = r.Close()
		}
	}
}
