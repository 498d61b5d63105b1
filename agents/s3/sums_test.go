package s3

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// A clone makes a MinIO a server that does not know CRC-64/NVME.
type clone struct {
	refuses int // the status for requests that have one; 0: it passes over them
	key     emulator.Credentials
	seen    prove.Recorder
}

func newClone(refuses int, key emulator.Credentials) *clone {
	return &clone{refuses: refuses, key: key, seen: prove.Recorder{Next: http.DefaultTransport}}
}

func (c *clone) RoundTrip(q *http.Request) (*http.Response, error) {
	q = q.Clone(q.Context())
	found := false
	for name := range q.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-checksum-") {
			found = found || name != "x-amz-checksum-mode"
			q.Header.Del(name)
		}
	}
	if found && c.refuses != 0 {
		return refuse(q, c.refuses, "InvalidArgument"), nil
	}
	signed := aws.Credentials{AccessKeyID: c.key.ID, SecretAccessKey: c.key.Secret}
	err := v4.NewSigner().SignHTTP(q.Context(), signed, q, q.Header.Get("X-Amz-Content-Sha256"), "s3", emulator.Region, time.Now(), func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = true
	})
	if err != nil {
		return nil, err
	}
	return c.seen.RoundTrip(q)
}

type flipped struct{ io.ReadCloser }

func (f flipped) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if n > 0 {
		p[0] ^= 1
	}
	return n, err
}

// Servers that refuse CRC-64/NVME, or pass over it, store by MD5 from the first
// request on, and everything works as before.
func TestClones(t *testing.T) {
	server := minio.Get(t)
	signIn(t, server.Key)
	for name, refuses := range map[string]int{"400": http.StatusBadRequest, "501": http.StatusNotImplemented, "silent": 0} {
		t.Run(name, func(t *testing.T) {
			bucket := newBucket(t, server, false)
			for _, size := range []int{1000, minPart + 1000} {
				c := newClone(refuses, server.Key)
				a := prove.Open(t, configured(t, bucket.Name, on(server, "")), core.Env{Transport: c})
				body := prove.Noise(size)
				id := prove.Uploaded(t, a, body)
				prove.Holds(t, a, id, body)
				for _, q := range c.seen.Seen() {
					if sends := q.Method == http.MethodPut; sends && q.Header.Get("Content-Md5") == "" {
						t.Errorf("%s went without a checksum", q.URL)
					}
				}
				if err := a.Delete(t.Context(), id); err != nil {
					t.Error(err)
				}
				if left, err := bucket.Leftovers(t.Context(), "app"); err != nil || len(left) > 0 {
					t.Errorf("left: %v, %v", left, err)
				}
			}
		})
	}
}

// Whoever demands CRC-64/NVME gets it or an error.
func TestDemandedChecksum(t *testing.T) {
	server := minio.Get(t)
	signIn(t, server.Key)
	bucket := newBucket(t, server, false)
	for _, refuses := range []int{0, http.StatusNotImplemented} {
		a := prove.Open(t, configured(t, bucket.Name, on(server, "checksum=crc64nvme")), core.Env{Transport: newClone(refuses, server.Key)})
		_, err := prove.Upload(t, a, prove.Noise(minPart+1000))
		prove.Kind(t, "an upload", err, core.ErrUnsupported)
	}
	if left, err := bucket.Leftovers(t.Context(), "app"); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// Every mode stores on a server that knows all, and what arrives damaged is
// refused by all modes but none.
func TestModes(t *testing.T) {
	server := minio.Get(t)
	signIn(t, server.Key)
	for _, mode := range []string{"auto", "crc64nvme", "md5", "none"} {
		t.Run(mode, func(t *testing.T) {
			bucket := newBucket(t, server, false)
			c := configured(t, bucket.Name, on(server, "checksum="+mode))
			a := prove.Open(t, c, core.Env{})
			body := prove.Noise(2*minPart + 1000)
			prove.Holds(t, a, prove.Uploaded(t, a, body), body)
			a = prove.Open(t, c, core.Env{Transport: flipper{}})
			if _, err := prove.Upload(t, a, body); mode != "none" {
				prove.Kind(t, "an upload whose parts are damaged on their way", err, core.ErrDamaged)
			} else if err != nil {
				t.Errorf("nothing was to be verified: %v", err)
			}
		})
	}
}

// flipper damages every part on its way.
type flipper struct{}

func (flipper) RoundTrip(q *http.Request) (*http.Response, error) {
	if q.URL.Query().Has("partNumber") {
		q = q.Clone(q.Context())
		q.Body = flipped{q.Body}
	}
	return http.DefaultTransport.RoundTrip(q)
}

// A refusal that is not about checksums is what the caller gets.
func TestRefusedForAnotherReason(t *testing.T) {
	signIn(t, fakeKey)
	refusals := 0
	s := driver(t, configured(t, "bucket", ""), core.Env{Transport: prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
		refusals++
		return refuse(q, http.StatusBadRequest, map[int]string{1: "InvalidStorageClass", 2: "SomethingElse"}[refusals]), nil
	})})
	_, err := prove.Put(t.Context(), s, "data/x", []byte("body"))
	prove.Kind(t, "a put", err, core.ErrUnsupported)
	if err == nil || !strings.Contains(err.Error(), "InvalidStorageClass") || refusals != 2 {
		t.Errorf("after %d requests: %v", refusals, err)
	}
	if s.sums.use() != (algorithms{crc: true, md5: true}) {
		t.Error("something was learned from it")
	}
}
