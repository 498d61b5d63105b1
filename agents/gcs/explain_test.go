package gcs

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/emulator/fakegcs"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// Of each right that is missing, the examination says which it is; and it needs none
// but those of an upload.
func TestExamineRights(t *testing.T) {
	const create, get, list, remove = "storage.objects.create", "storage.objects.get", "storage.objects.list", "storage.objects.delete"
	for right, want := range map[string]map[string]string{
		"":     {},
		create: {"write": "failed " + create, "write parts": "failed " + create},
		get:    {"read": "failed " + get},
		list:   {"list": "failed " + list, "find uploads": "failed " + list, "list parts": "failed " + list, "abort uploads": "warning " + list},
		remove: {"delete": "note " + remove, "upload": "note"},
	} {
		t.Run(right, func(t *testing.T) {
			server := started(t)
			bucket := newBucket(t, server, fakegcs.Bucket{Versioning: true})
			server.Deny(right, "storage.buckets.get")
			found := prove.Examined(t, prove.Open(t, configured(t, bucket.Name, on(server, "")), core.Env{StateDir: t.TempDir()}))
			want["settings"] = "note"
			prove.Found(t, found, want)
			for what, f := range found {
				if f.Right != "" && !strings.Contains(f.Do, "grant "+right) {
					t.Errorf("%s: %q does not say what to do", what, f.Do)
				}
			}
			if left := server.Names(bucket.Name, ""); (len(left) > 0) != (right == remove || right == list) || len(left) > 2 {
				t.Errorf("left: %q", left)
			}
			if left := server.Sessions(bucket.Name, ""); len(left) > 0 {
				t.Errorf("left are sessions for %q", left)
			}
		})
	}
}

// What an operator has to know of a bucket.
func TestSettings(t *testing.T) {
	lifecycle := func(condition string) fakegcs.Bucket {
		return fakegcs.Bucket{Versioning: true, Lifecycle: []byte(`{"rule":[{"action":{"type":"Delete"},"condition":{` + condition + `}}]}`)}
	}
	for what, test := range map[string]struct {
		like    fakegcs.Bucket
		options string
		want    map[string]string
	}{
		"a plain bucket":            {fakegcs.Bucket{}, "", map[string]string{"versions": "note"}},
		"versions":                  {fakegcs.Bucket{Versioning: true}, "", nil},
		"soft delete":               {fakegcs.Bucket{SoftDelete: 7 * 24 * time.Hour}, "", map[string]string{"upload": "note"}},
		"soft delete of no parts":   {fakegcs.Bucket{SoftDelete: 7 * 24 * time.Hour}, "upload=session", map[string]string{"upload": "note"}},
		"a lock that is not used":   {fakegcs.Bucket{Versioning: true, ObjectRetention: true}, "", map[string]string{"lock": "note"}},
		"a lock":                    {fakegcs.Bucket{Versioning: true, ObjectRetention: true}, "lock=locked&lock_for=1d", nil},
		"a lock that there is not":  {fakegcs.Bucket{Versioning: true}, "lock=locked&lock_for=1d", map[string]string{"lock": "failed"}},
		"a colder bucket":           {fakegcs.Bucket{Versioning: true, StorageClass: "ARCHIVE"}, "", map[string]string{"upload": "note"}},
		"one stream":                {fakegcs.Bucket{Versioning: true}, "upload=session", map[string]string{"upload": "note"}},
		"a lifecycle for all":       {lifecycle(`"age":30`), "", map[string]string{"lifecycle": "warning"}},
		"one for ours":              {lifecycle(`"age":30,"matchesPrefix":["app/data/2026"]`), "", map[string]string{"lifecycle": "warning"}},
		"one for what is above":     {lifecycle(`"age":30,"matchesPrefix":["other/","a"]`), "", map[string]string{"lifecycle": "warning"}},
		"one for others":            {lifecycle(`"age":30,"matchesPrefix":["other/","app/tmp/"]`), "", nil},
		"one for older generations": {lifecycle(`"age":30,"isLive":false`), "", nil},
		"one for what was replaced": {lifecycle(`"daysSinceNoncurrentTime":3`), "", nil},
	} {
		t.Run(what, func(t *testing.T) {
			server := started(t)
			bucket := newBucket(t, server, test.like)
			found := prove.Examined(t, prove.Open(t, configured(t, bucket.Name, on(server, test.options)), core.Env{StateDir: t.TempDir()}))
			prove.Found(t, found, test.want)
		})
	}
}

// Where the server does not name the right, what was asked for does.
func TestRight(t *testing.T) {
	for message, want := range map[string][]string{
		"Forbidden":  {"storage.objects.create", "storage.objects.get", "storage.objects.list", "storage.objects.delete"},
		mayNotDelete: slices.Repeat([]string{"storage.objects.delete"}, 4),
		"Permission denied on Cloud KMS key. Permission 'cloudkms.cryptoKeyVersions.useToEncrypt' denied.":                                         slices.Repeat([]string{"cloudkms.cryptoKeyVersions.useToEncrypt"}, 4),
		"Caller does not have required permission to use project p. Grant a role, or a custom role with the serviceusage.services.use permission.": slices.Repeat([]string{"serviceusage.services.use"}, 4),
	} {
		s := saying(t, func(q *http.Request) (*http.Response, error) {
			return refuse(q, http.StatusForbidden, "forbidden", message), nil
		})
		_, create := prove.Put(t.Context(), s, "data/x", []byte("x"))
		_, get := s.Stat(t.Context(), "data/x")
		var list error
		for _, list = range s.List(t.Context(), "data/", "") {
		}
		for i, err := range []error{create, get, list, s.Delete(t.Context(), "data/x")} {
			if got := s.Right(err); got != want[i] {
				t.Errorf("%v: the right is %q, want %q", err, got, want[i])
			}
		}
	}
}
