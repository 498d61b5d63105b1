package s3

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// Of each right that is missing, the examination says which it is; and it needs none
// but those of an upload.
func TestExamineRights(t *testing.T) {
	server := minio.Get(t)
	deleting := []string{"s3:DeleteObject"}
	all := slices.Concat(writing, listing, deleting)
	unseen := map[string]string{"settings": "note"}
	for right, want := range map[string]map[string]string{
		"":                              {},
		"s3:PutObject":                  {"write": "failed s3:PutObject", "write parts": "failed s3:PutObject"},
		"s3:GetObject":                  {"write": "failed s3:GetObject", "read": "failed s3:GetObject", "delete": "note s3:GetObject"},
		"s3:ListBucket":                 {"list": "failed s3:ListBucket"},
		"s3:ListBucketMultipartUploads": {"find uploads": "failed s3:ListBucketMultipartUploads"},
		"s3:ListMultipartUploadParts":   {"list parts": "failed s3:ListMultipartUploadParts"},
		"s3:AbortMultipartUpload":       {"abort uploads": "warning s3:AbortMultipartUpload"},
		"s3:DeleteObject":               {"delete": "note s3:DeleteObject"},
	} {
		t.Run(right, func(t *testing.T) {
			bucket := newBucket(t, server, false)
			signIn(t, session(t, server, slices.DeleteFunc(slices.Clone(all), func(r string) bool { return r == right })...))
			a := prove.Open(t, configured(t, bucket.Name, on(server, "")), core.Env{})
			found := prove.Examined(t, a)
			for what, verdict := range unseen {
				want[what] = verdict
			}
			prove.Found(t, found, want)
			for what, f := range found {
				if f.Right != "" && !strings.Contains(f.Do, "grant "+right) {
					t.Errorf("%s: %q does not say what to do", what, f.Do)
				}
			}
			left, err := bucket.List(t.Context(), "app")
			if err != nil {
				t.Fatal(err)
			}
			parts, err := bucket.Leftovers(t.Context(), "app")
			if err != nil {
				t.Fatal(err)
			}
			stays := right == "s3:GetObject" || right == "s3:DeleteObject"
			if (len(left) == 1) != stays || len(left) > 1 || (len(parts) == 1) != (right == "s3:AbortMultipartUpload") {
				t.Errorf("left: %v and parts of %v", left, parts)
			}
		})
	}
}

// An examination uses what it may not remove again, of which there is one then; and
// says the clock all the same.
func TestExamineWithoutDelete(t *testing.T) {
	server := minio.Get(t)
	bucket := newBucket(t, server, false)
	signIn(t, session(t, server, slices.Concat(writing, listing)...))
	now := time.Now().Add(-2 * time.Hour)
	env := core.Env{Now: func() time.Time { return now }}
	a := prove.Open(t, configured(t, bucket.Name, on(server, "")), env)
	want := map[string]string{"delete": "note s3:DeleteObject", "settings": "note", "clock": "failed"}
	for range 2 {
		prove.Found(t, prove.Examined(t, a), want)
		if got := keys(t, bucket); len(got) != 1 || !strings.HasPrefix(got[0], "tmp/examine-") {
			t.Errorf("left: %v", got)
		}
		now, want["clock"], want["delete"] = time.Now(), "ok", "note" // by the clock of the place it is young
	}
}

// What an examination asks for lies in the bucket: none is listed or made.
func TestExamineAsksTheBucketAlone(t *testing.T) {
	server := minio.Get(t)
	bucket := newBucket(t, server, false)
	signIn(t, server.Key)
	r := &prove.Recorder{Next: http.DefaultTransport}
	a := prove.Open(t, configured(t, bucket.Name, on(server, "")), core.Env{Transport: r})
	prove.Found(t, prove.Examined(t, a), map[string]string{"versions": "note"})
	for _, q := range r.Seen() {
		rest, ok := strings.CutPrefix(q.URL.Path, "/"+bucket.Name)
		switch {
		case !ok:
			t.Errorf("%s %s is not of the bucket", q.Method, q.URL)
		case strings.HasPrefix(rest, "/app/tmp/examine-"):
		case q.Method != http.MethodGet || q.URL.RawQuery == "":
			t.Errorf("%s %s", q.Method, q.URL)
		}
	}
	if got := keys(t, bucket); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

// What is wrong with the place as a whole is said once.
func TestExamineTroubles(t *testing.T) {
	server := minio.Get(t)
	wrong := server.Key
	wrong.Secret = canary.Secret
	for name, test := range map[string]struct {
		bucket string
		want   core.ErrorKind
	}{
		"nobodys-bucket": {"nobodys-bucket", core.ErrNoPlace},
		"wrong secret":   {newBucket(t, server, false).Name, core.ErrUnauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			signIn(t, wrong)
			if test.want == core.ErrNoPlace {
				signIn(t, server.Key)
			}
			found := prove.Examined(t, prove.Open(t, configured(t, test.bucket, on(server, "")), core.Env{}))
			for what, f := range found {
				if len(found) != 1 || f.Verdict != core.VerdictFailed || !errors.Is(f.Err, test.want) {
					t.Errorf("%s: %+v, one of %d", what, f, len(found))
				}
			}
		})
	}
}

// What the bucket does to backups by itself is said.
func TestSettings(t *testing.T) {
	server := minio.Get(t)
	signIn(t, server.Key)
	plain, locking, defaults := newNamed(t, "settings-plain", false), newNamed(t, "settings-locking", true), newNamed(t, "settings-defaults", true)
	c := configured(t, defaults, on(server, ""))
	_, err := driver(t, c, core.Env{}).client.PutObjectLockConfiguration(t.Context(), &s3.PutObjectLockConfigurationInput{
		Bucket: &defaults,
		ObjectLockConfiguration: &types.ObjectLockConfiguration{
			ObjectLockEnabled: types.ObjectLockEnabledEnabled,
			Rule:              &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeGovernance, Days: aws.Int32(1)}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		bucket, options string
		want            map[string]string
		says            string
	}{
		"nothing":                  {plain, "", map[string]string{"versions": "note"}, "what is deleted is gone"},
		"lock without object lock": {plain, "lock=governance&lock_for=1h", map[string]string{"versions": "note", "lock": "failed"}, "cannot lock objects"},
		"lock":                     {locking, "lock=governance&lock_for=1h", nil, "locked for 1h"},
		"object lock, and no lock": {locking, "", map[string]string{"lock": "note"}, "none is locked"},
		"the bucket locks":         {defaults, "", map[string]string{"lock": "note", "delete": "note"}, "for 1 days (governance)"},
	} {
		t.Run(name, func(t *testing.T) {
			found := prove.Examined(t, prove.Open(t, configured(t, test.bucket, on(server, test.options)), core.Env{}))
			prove.Found(t, found, test.want)
			if said := found["versions"].Why + found["lock"].Why; !strings.Contains(said, test.says) {
				t.Errorf("%q does not say %q", said, test.says)
			}
		})
	}
}

func newNamed(t *testing.T, name string, locked bool) string {
	t.Helper()
	bucket, err := minio.Get(t).MakeBucket(t.Context(), name, locked)
	if err != nil {
		t.Fatal(err)
	}
	return bucket.Name
}

// A lifecycle that removes backups is told of, and one of something else is not.
func TestLifecycle(t *testing.T) {
	server := minio.Get(t)
	bucket := newBucket(t, server, false)
	signIn(t, server.Key)
	s := driver(t, configured(t, bucket.Name, on(server, "")), core.Env{})
	days := &types.LifecycleExpiration{Days: aws.Int32(30)}
	rule := func(prefix string, change func(*types.LifecycleRule)) types.LifecycleRule {
		r := types.LifecycleRule{
			ID: aws.String("old"), Status: types.ExpirationStatusEnabled, Expiration: days,
			Filter: &types.LifecycleRuleFilter{Prefix: &prefix},
		}
		if change != nil {
			change(&r)
		}
		return r
	}
	cold := func(class types.TransitionStorageClass) func(*types.LifecycleRule) {
		return func(r *types.LifecycleRule) {
			r.Expiration, r.Transitions = nil, []types.Transition{{Days: aws.Int32(7), StorageClass: class}}
		}
	}
	for name, test := range map[string]struct {
		rule types.LifecycleRule
		want string
		real bool // whether the server takes it
	}{
		"all of the bucket": {rule("", nil), "removes them after 30 days", true},
		"the prefix":        {rule("app/", nil), "removes them after 30 days", true},
		"archives":          {rule("app/data/", nil), "removes them after 30 days", true},
		"some metadata":     {rule("app/meta/2026", nil), "removes them after 30 days", true},
		"parts in flight":   {rule("app/tmp/", nil), "", true},
		"another prefix":    {rule("other/", nil), "", true},
		"on a date": {rule("", func(r *types.LifecycleRule) {
			r.Expiration = &types.LifecycleExpiration{Date: aws.Time(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))}
		}), "removes them on 2027-01-01", true},
		"disabled": {rule("", func(r *types.LifecycleRule) { r.Status = types.ExpirationStatusDisabled }), "", true},
		"what has a tag": {rule("", func(r *types.LifecycleRule) {
			r.Filter = &types.LifecycleRuleFilter{Tag: &types.Tag{Key: aws.String("a"), Value: aws.String("b")}}
		}), "", true},
		"as they were once": {rule("", func(r *types.LifecycleRule) {
			//lint:ignore SA1019 they still have it
			r.Filter, r.Prefix = nil, aws.String("app")
		}), "removes them after 30 days", false},
		"to where it is cold": {rule("", cold(types.TransitionStorageClassDeepArchive)), "moves them to DEEP_ARCHIVE after 7 days", false},
		"to where it is not":  {rule("", cold(types.TransitionStorageClassStandardIa)), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := s.harm(test.rule); (got == "") != (test.want == "") || !strings.HasPrefix(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
			if !test.real {
				return
			}
			_, err := s.client.PutBucketLifecycleConfiguration(t.Context(), &s3.PutBucketLifecycleConfigurationInput{
				Bucket: &bucket.Name, LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{test.rule}},
			})
			if err != nil {
				t.Fatal(err)
			}
			f, err := s.lifecycle(t.Context())
			if err != nil || (f.Verdict == core.VerdictWarning) != (test.want != "") || !strings.Contains(f.Why, test.want) {
				t.Errorf("%+v, %v", f, err)
			}
		})
	}
}

// The server's own words count more than what is known of an operation.
func TestRight(t *testing.T) {
	signIn(t, fakeKey)
	for message, want := range map[string]string{
		"Access Denied.": "s3:PutObject",
		`User: arn:aws:iam::1:user/u is not authorized to perform: kms:GenerateDataKey on resource: "k" because no identity-based policy allows the kms:GenerateDataKey action`: "kms:GenerateDataKey",
		`User: arn:aws:iam::1:user/u is not authorized to perform: s3:PutObjectRetention on resource: "o"`:                                                                      "s3:PutObjectRetention",
	} {
		s := driver(t, configured(t, "bucket", ""), core.Env{Transport: prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
			r := prove.Answer(q, http.StatusForbidden, http.Header{}, "<Error><Code>AccessDenied</Code><Message>"+strings.ReplaceAll(message, `"`, "&quot;")+"</Message></Error>")
			return r, nil
		})})
		_, err := prove.Put(t.Context(), s, "data/x", []byte("x"))
		if got := s.Right(err); got != want {
			t.Errorf("%v: the right is %q, want %q", err, got, want)
		}
	}
	if got := (&store{}).Right(core.ErrDenied); got != "" {
		t.Errorf("nobody said it: %q", got)
	}
}
