package s3

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// What is locked answers a delete with the date, and nothing changes. When the lock
// is over it is deleted, which leaves versions and nothing that is listed.
func TestLock(t *testing.T) {
	server := minio.Get(t)
	signIn(t, server.Key)
	for _, mode := range []string{"governance", "compliance"} {
		t.Run(mode, func(t *testing.T) {
			bucket := newBucket(t, server, true)
			now := time.Now()
			env := core.Env{Now: func() time.Time { return now }}
			c := configured(t, bucket.Name, on(server, "lock="+mode+"&lock_for=1h"))
			a := prove.Open(t, c, env)
			body := prove.Noise(minPart + 1000)
			id := prove.Uploaded(t, a, body)
			for _, key := range []string{"data/" + string(id) + ".tar.zst", "meta/" + string(id) + ".json"} {
				out, err := driver(t, c, env).head(t.Context(), key)
				if err != nil || string(out.ObjectLockMode) != strings.ToUpper(mode) {
					t.Errorf("%s is locked by %v, %v", key, out, err)
				}
			}
			before := keys(t, bucket)
			wantLocked(t, a.Delete(t.Context(), id), now.Add(time.Hour))
			wantLocked(t, driver(t, c, env).Delete(t.Context(), "meta/"+string(id)+".json"), now.Add(time.Hour))
			if after := keys(t, bucket); !slices.Equal(before, after) {
				t.Errorf("the delete that was refused made %v of %v", after, before)
			}
			prove.Holds(t, a, id, body)

			now = now.Add(2 * time.Hour)
			if err := a.Delete(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if ids, err := prove.List(t.Context(), a); err != nil || len(ids) > 0 {
				t.Errorf("still listed: %v, %v", ids, err)
			}
			_, err := a.Get(t.Context(), id)
			prove.Kind(t, "what was deleted", err, core.ErrNotFound)
			if err := driver(t, c, env).Delete(t.Context(), "data/"+string(id)+".tar.zst"); err != nil {
				t.Errorf("a second delete: %v", err)
			}
			if kept, deleted := versions(t, c, "data/"+string(id)); kept != 1 || deleted != 1 {
				t.Errorf("%d versions of the archive are kept and %d deletes, want 1 of each", kept, deleted)
			}
			if got := keys(t, bucket); !slices.Equal(got, []string{"gone/" + string(id)}) {
				t.Errorf("the bucket shows %v, want the mark alone", got)
			}
		})
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

func keys(t *testing.T, bucket emulator.Bucket) []string {
	t.Helper()
	all, err := bucket.List(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// versions is how many versions a bucket keeps below a key, and how many times it
// was deleted.
func versions(t *testing.T, c *Config, key string) (kept, deleted int) {
	t.Helper()
	s := driver(t, c, core.Env{})
	bucket, full := s.at(key)
	out, err := s.client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: bucket, Prefix: full})
	if err != nil {
		t.Fatal(err)
	}
	return len(out.Versions), len(out.DeleteMarkers)
}

// A legal hold has no date.
func TestLegalHold(t *testing.T) {
	server := minio.Get(t)
	signIn(t, server.Key)
	bucket := newBucket(t, server, true)
	c := configured(t, bucket.Name, on(server, ""))
	a, s := prove.Open(t, c, core.Env{}), driver(t, c, core.Env{})
	body := prove.Noise(1000)
	id := prove.Uploaded(t, a, body)
	in := &s3.PutObjectLegalHoldInput{LegalHold: &types.ObjectLockLegalHold{Status: types.ObjectLockLegalHoldStatusOn}}
	in.Bucket, in.Key = s.at("data/" + string(id) + ".tar.zst")
	if _, err := s.client.PutObjectLegalHold(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	prove.Kind(t, "a delete of what is held", a.Delete(t.Context(), id), core.ErrLocked)
	prove.Holds(t, a, id, body)
	in.LegalHold.Status = types.ObjectLockLegalHoldStatusOff
	if _, err := s.client.PutObjectLegalHold(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// A bucket that knows no locks refuses what was to be locked, rather than store it
// without.
func TestLockWithoutLockBucket(t *testing.T) {
	server := minio.Get(t)
	signIn(t, server.Key)
	bucket := newBucket(t, server, false)
	a := prove.Open(t, configured(t, bucket.Name, on(server, "lock=governance&lock_for=1h")), core.Env{})
	for _, size := range []int{1000, minPart + 1000} {
		_, err := prove.Upload(t, a, prove.Noise(size))
		prove.Kind(t, "an upload", err, core.ErrUnsupported)
		if err == nil || !strings.Contains(err.Error(), "ObjectLockConfiguration") {
			t.Errorf("%v does not say what is missing", err)
		}
	}
	if got := keys(t, bucket); len(got) > 0 {
		t.Errorf("stored all the same: %v", got)
	}
}
