package s3

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/prove"
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

// denied is a server that grants nothing.
var denied = prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
	return refuse(q, http.StatusForbidden, "AccessDenied"), nil
})

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
			a := prove.Open(t, c, core.Env{})
			body := prove.Noise(2*minPart + 1000)
			id := prove.Uploaded(t, a, body)
			prove.Holds(t, a, id, body)
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
	body := prove.Noise(parts * minPart)
	var sent []object.Part
	for i := range parts {
		b := body[i*minPart : (i+1)*minPart]
		p := object.Part{Index: i, Offset: int64(i) * minPart, Size: minPart, CRC64: prove.Sum(b)}
		sent = append(sent, p)
		if err := first.Put(t.Context(), p, prove.Section(b)); err != nil {
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
		if err != nil || o.Size != int64(len(body)) || !o.Summed || o.Sum != prove.Sum(body) || o.Token != "0123456789abcdef" {
			t.Fatalf("stored as %+v, %v", o, err)
		}
		_, err = m.Commit(t.Context(), sent)
		prove.Kind(t, "a second commit", err, core.ErrNotFound)
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
	one, other := prove.Noise(1000), prove.Noise(1001)
	p := object.Part{Size: 1000, CRC64: prove.Sum(one)}
	replaced := object.Part{Size: 1001, CRC64: prove.Sum(other)}
	if err := m.Put(t.Context(), p, prove.Section(one)); err != nil {
		t.Fatal(err)
	}
	if err := m.Put(t.Context(), replaced, prove.Section(other)); err != nil {
		t.Fatal(err)
	}
	_, err = m.Commit(t.Context(), []object.Part{p})
	prove.Kind(t, "a commit of a part that another replaced", err, core.ErrChanged)
	_, err = m.Commit(t.Context(), []object.Part{replaced, {Index: 1, Offset: 1001, Size: 1}})
	prove.Kind(t, "a commit of a part that is not there", err, core.ErrChanged)
	_, err = s.Stat(t.Context(), "data/x.tar.zst")
	prove.Kind(t, "the object", err, core.ErrNotFound)
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
		s := driver(t, configured(t, "bucket", ""), core.Env{Transport: prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
			r := refuse(q, http.StatusOK, "")
			for name, value := range map[string]string{"ETag": test.etag, "Content-Range": test.ranges} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			return r, nil
		})})
		r, err := s.Range(t.Context(), o, 0, test.n)
		prove.Kind(t, what, err, test.want)
		if err == nil {
			_ = r.Close()
		}
	}
}
