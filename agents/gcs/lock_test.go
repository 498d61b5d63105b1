package gcs

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/emulator/fakegcs"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// What is locked answers a delete with the date, and nothing changes.
func TestLock(t *testing.T) {
	for _, mode := range []string{"unlocked", "locked"} {
		for _, upload := range []string{uploadParts, uploadSession} {
			t.Run(mode+" by "+upload, func(t *testing.T) {
				server := started(t)
				bucket := newBucket(t, server, fakegcs.Bucket{ObjectRetention: true})
				now := time.Now()
				env := core.Env{Now: func() time.Time { return now }}
				c := configured(t, bucket.Name, on(server, "lock_for=1h&lock="+mode+"&upload="+upload))
				a, s := prove.Open(t, c, env), driver(t, c, env)
				body := prove.Noise(minPart + 1000)
				id := prove.Uploaded(t, a, body)
				archive, meta := "data/"+string(id)+".tar.zst", "meta/"+string(id)+".json"
				for _, key := range []string{archive, meta} {
					attrs, err := s.look(t.Context(), key)
					if err != nil || attrs.Retention == nil || strings.ToLower(attrs.Retention.Mode) != mode {
						t.Errorf("%s is locked by %+v, %v", key, attrs, err)
					}
				}
				before := server.Names(bucket.Name, "")
				if want := []string{"app/" + archive, "app/" + meta}; !slices.Equal(before, want) {
					t.Errorf("stored are %q, want %q", before, want)
				}
				wantLocked(t, a.Delete(t.Context(), id), now.Add(time.Hour))
				wantLocked(t, s.Delete(t.Context(), meta), now.Add(time.Hour))
				if after := server.Names(bucket.Name, ""); !slices.Equal(before, after) {
					t.Errorf("the delete that was refused made %q of %q", after, before)
				}
				prove.Holds(t, a, id, body)
			})
		}
	}
}

func wantLocked(t *testing.T, err error, until time.Time) {
	t.Helper()
	prove.Kind(t, "a delete of what is locked", err, core.ErrLocked)
	var e *core.Error
	if !errors.As(err, &e) || e.Until.Sub(until).Abs() > time.Minute || !strings.Contains(err.Error(), e.Until.UTC().Format(time.RFC3339)) {
		t.Errorf("%v; want until %v", err, until)
	}
}

// What the bucket keeps answers with the date too; a hold has none.
func TestBucketKeeps(t *testing.T) {
	server := started(t)
	bucket := newBucket(t, server, fakegcs.Bucket{Retention: time.Hour})
	c := configured(t, bucket.Name, on(server, ""))
	a, s := prove.Open(t, c, core.Env{}), driver(t, c, core.Env{})
	body := prove.Noise(minPart + 1000)
	id := prove.Uploaded(t, a, body)
	if left := server.Names(bucket.Name, "app/tmp/"); len(left) > 0 {
		t.Errorf("parts are left for as long as the bucket says: %q", left)
	}
	wantLocked(t, a.Delete(t.Context(), id), time.Now().Add(time.Hour))
	wantLocked(t, s.Delete(t.Context(), "meta/"+string(id)+".json"), time.Now().Add(time.Hour))
	server.MakeBucket(bucket.Name, fakegcs.Bucket{})

	id = prove.Uploaded(t, a, body[:1000])
	archive := "app/data/" + string(id) + ".tar.zst"
	for _, hold := range [][2]bool{{true, false}, {false, true}} {
		if err := server.Hold(bucket.Name, archive, hold[0], hold[1]); err != nil {
			t.Fatal(err)
		}
		before := server.Names(bucket.Name, "")
		prove.Kind(t, "a delete of what is held", a.Delete(t.Context(), id), core.ErrLocked)
		prove.Kind(t, "a delete of the object", s.Delete(t.Context(), strings.TrimPrefix(archive, "app/")), core.ErrLocked)
		if after := server.Names(bucket.Name, ""); !slices.Equal(before, after) {
			t.Errorf("the delete that was refused made %q of %q", after, before)
		}
	}
	if err := server.Hold(bucket.Name, archive, false, false); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(t.Context(), id); err != nil {
		t.Error(err)
	}
	if until, err := s.Protected(t.Context(), "data/none"); err != nil || !until.IsZero() {
		t.Errorf("what is not there is protected until %v, %v", until, err)
	}
}

// A bucket without object retention refuses what was to be locked, rather than store it
// without.
func TestLockWithoutRetention(t *testing.T) {
	server := started(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	a := prove.Open(t, configured(t, bucket.Name, on(server, "lock=locked&lock_for=1h")), core.Env{})
	for _, size := range []int{1000, minPart + 1000} {
		_, err := prove.Upload(t, a, prove.Noise(size))
		prove.Kind(t, "an upload", err, core.ErrUnsupported)
		if err == nil || !strings.Contains(err.Error(), "Object retention is not enabled") {
			t.Errorf("%v does not say what is missing", err)
		}
	}
	if got := server.Names(bucket.Name, ""); len(got) > 0 {
		t.Errorf("stored all the same: %q", got)
	}
}

// A server that passes over the lock, or stored other bytes than it was sent, keeps
// nothing that could be taken for a backup.
func TestStoredOtherwise(t *testing.T) {
	server := started(t)
	bucket := newBucket(t, server, fakegcs.Bucket{ObjectRetention: true})
	for options, test := range map[string]struct {
		ask, answer *strings.Replacer
		want        core.ErrorKind
	}{
		"lock=locked&lock_for=1h": {strings.NewReplacer(`"retention":`, `"unknown":`), strings.NewReplacer(), core.ErrUnsupported},
		"storage_class=STANDARD":  {strings.NewReplacer(), strings.NewReplacer(`"crc32c":"`, `"crc32c":"AAAAAA==","unknown":"`), core.ErrDamaged},
	} {
		for _, upload := range []string{uploadParts, uploadSession} {
			for _, size := range []int{1000, minPart + 1000} {
				rt := prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
					query := q.URL.Query()
					if q.Body != nil {
						q = q.Clone(q.Context())
						q.Body, q.ContentLength = rewritten(t, q.Body, test.ask)
					}
					r, err := http.DefaultTransport.RoundTrip(q)
					if err == nil && q.Method != http.MethodGet && !strings.Contains(query.Get("name"), "/tmp/") && q.URL.Path != "/token" {
						r.Body, r.ContentLength = rewritten(t, r.Body, test.answer)
					}
					return r, err
				})
				c := configured(t, bucket.Name, on(server, options+"&upload="+upload))
				_, err := prove.Upload(t, prove.Open(t, c, core.Env{Transport: rt, StateDir: t.TempDir()}), prove.Noise(size))
				prove.Kind(t, options, err, test.want)
				if left := server.Names(bucket.Name, ""); len(left) > 0 {
					t.Errorf("%s: of %d bytes by %s left are %q", options, size, upload, left)
				}
			}
		}
	}
}

func rewritten(t *testing.T, body io.ReadCloser, by *strings.Replacer) (io.ReadCloser, int64) {
	doc, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		t.Error(err)
	}
	text := by.Replace(string(doc))
	return io.NopCloser(strings.NewReader(text)), int64(len(text))
}

// A bucket with versions keeps none of parts.
func TestPartsInVersions(t *testing.T) {
	server := started(t)
	bucket := newBucket(t, server, fakegcs.Bucket{Versioning: true})
	a := prove.Open(t, configured(t, bucket.Name, on(server, "")), core.Env{})
	body := prove.Noise(40*minPart + 1000)
	prove.Holds(t, a, prove.Uploaded(t, a, body), body)
	if most := int64(len(body) + 10_000); server.Held() > most {
		t.Errorf("%d bytes are held, want %d", server.Held(), most)
	}
}
