package fakegcs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A client is one of a server that looks at its clock.
type client struct {
	*testing.T
	*Server
	url   string
	token string
	now   time.Time
}

func newClient(t *testing.T, o Options) *client {
	t.Helper()
	c := &client{T: t, now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)}
	o.Dir, o.Now = t.TempDir(), func() time.Time { return c.now }
	var err error
	if c.Server, err = New(o); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(c.Server)
	c.url = web.URL
	t.Cleanup(func() {
		web.Close()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	c.MakeBucket("b", Bucket{})
	return c
}

// ask makes a request and returns its status and body.
func (c *client) ask(method, target, body string, header ...string) (*http.Response, string) {
	c.Helper()
	if !strings.HasPrefix(target, "http") {
		target = c.url + target
	}
	q, err := http.NewRequestWithContext(c.Context(), method, target, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	if c.token != "" {
		q.Header.Set("Authorization", "Bearer "+c.token)
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		c.Fatal(err)
	}
	got, err := io.ReadAll(r.Body)
	if err = errors.Join(err, r.Body.Close()); err != nil {
		c.Fatal(err)
	}
	return r, string(got)
}

// wants demands a status, and a text in the answer.
func (c *client) wants(what string, status int, text, method, target, body string, header ...string) {
	c.Helper()
	if r, got := c.ask(method, target, body, header...); r.StatusCode != status || !strings.Contains(got, text) {
		c.Errorf("%s: %d %s; want %d %s", what, r.StatusCode, got, status, text)
	}
}

const (
	objects = "/storage/v1/b/b/o"
	insert  = "/upload/storage/v1/b/b/o?uploadType=media&name="
)

// What a right that is missing keeps from, and how that is said.
func TestDeny(t *testing.T) {
	for permission, asks := range map[string][]string{
		"storage.objects.create":  {"POST " + insert + "new", "POST " + objects + "/new/compose"},
		"storage.objects.get":     {"GET " + objects + "/a", "GET " + objects + "/a?alt=media", "POST " + objects + "/new/compose"},
		"storage.objects.list":    {"GET " + objects, "GET " + objects + "/none"},
		"storage.objects.delete":  {"DELETE " + objects + "/a", "POST " + insert + "a", "POST " + insert + "a&ifGenerationMatch=0"},
		"storage.buckets.get":     {"GET /storage/v1/b/b"},
		"storage.objects.nothing": nil,
	} {
		c := newClient(t, Options{Anonymous: true})
		c.ask("POST", insert+"a", "a")
		c.Deny(permission)
		for _, ask := range asks {
			method, target, _ := strings.Cut(ask, " ")
			c.wants(ask, 403, "does not have "+permission+" access", method, target, `{"sourceObjects":[{"name":"a"}]}`)
		}
		_, granted := c.ask("GET", "/storage/v1/b/b/iam/testPermissions?permissions=storage.objects.get&permissions="+permission, "")
		if strings.Contains(granted, permission) || strings.Contains(granted, "objects.get") == (permission == "storage.objects.get") {
			t.Errorf("without %s: %s", permission, granted)
		}
		if names := c.Names("b", ""); !slices.Equal(names, []string{"a"}) {
			t.Errorf("without %s there are %q", permission, names)
		}
		c.Deny()
		c.wants("a delete with all rights", 204, "", "DELETE", objects+"/a", "")
	}
}

// Retention and holds protect an object from being deleted and replaced, until they end.
func TestProtection(t *testing.T) {
	const until = `"retention":{"mode":"Locked","retainUntilTime":"2026-11-23T10:00:00Z"}`
	multi := func(resource string) string {
		return "--x\r\n\r\n{" + resource + "}\r\n--x\r\n\r\nbytes\r\n--x--\r\n"
	}
	for what, test := range map[string]struct {
		bucket   Bucket
		resource string
		hold     [2]bool
		text     string
	}{
		"of the bucket":               {Bucket{Retention: time.Hour}, "", [2]bool{}, "retentionPolicyNotMet"},
		"of the object":               {Bucket{ObjectRetention: true}, until, [2]bool{}, "retentionPolicyNotMet"},
		"a temporary hold":            {Bucket{}, "", [2]bool{true, false}, "objectUnderActiveHold"},
		"an event-based hold":         {Bucket{}, "", [2]bool{false, true}, "objectUnderActiveHold"},
		"the bucket's hold":           {Bucket{EventBasedHold: true}, "", [2]bool{false, true}, "objectUnderActiveHold"},
		"that an object may not have": {Bucket{}, until, [2]bool{}, ""},
	} {
		c := newClient(t, Options{Anonymous: true})
		c.MakeBucket("b", test.bucket)
		r, made := c.ask("POST", "/upload/storage/v1/b/b/o?uploadType=multipart&name=a", multi(test.resource), "Content-Type", "multipart/related; boundary=x")
		if test.text == "" {
			if r.StatusCode != 400 {
				t.Errorf("%s: %d %s", what, r.StatusCode, made)
			}
			continue
		}
		if test.hold[0] || !test.bucket.EventBasedHold && test.hold[1] {
			if err := c.Hold("b", "a", test.hold[0], test.hold[1]); err != nil {
				t.Fatal(err)
			}
		}
		c.wants(what+": a delete", 403, test.text, "DELETE", objects+"/a", "")
		c.wants(what+": a replacement", 403, test.text, "POST", insert+"a", "other")
		c.wants(what+": a composition", 403, test.text, "POST", objects+"/a/compose", `{"sourceObjects":[{"name":"a"}]}`)
		c.wants(what+": its bytes", 200, "bytes", "GET", objects+"/a?alt=media", "")
		c.now = c.now.Add(2 * time.Hour)
		if err := c.Hold("b", "a", false, false); err != nil {
			t.Fatal(err)
		}
		c.wants(what+": a delete when it is over", 204, "", "DELETE", objects+"/a", "")
	}
}

// A token is given to who can show who they are, and is over in an hour.
func TestTokens(t *testing.T) {
	c := newClient(t, Options{})
	c.wants("nobody", 401, "required", "GET", objects, "")
	c.token = "ya29.of-nobody"
	c.wants("a token of nobody", 401, "authError", "GET", objects, "")
	subject, err := c.External(c.url, "subject", "/file")
	if err != nil || !json.Valid(subject) {
		t.Fatal(err)
	}
	exchange := func(token string) (*http.Response, string) {
		form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {token}}
		return c.ask("POST", "/sts", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	}
	if r, got := exchange("another"); r.StatusCode != 400 || !strings.Contains(got, "invalid_grant") {
		t.Errorf("another's token: %d %s", r.StatusCode, got)
	}
	_, got := exchange("subject")
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(got), &answer); err != nil {
		t.Fatal(got, err)
	}
	c.token = answer.Token
	c.wants("a token", 200, "storage#objects", "GET", objects, "")
	c.now = c.now.Add(time.Hour + time.Second)
	c.wants("a token that is over", 401, "authError", "GET", objects, "")
	c.now = c.now.Add(-time.Minute)
	c.wants("the same before", 200, "", "GET", objects, "")
	c.Revoke()
	c.wants("a token that was taken back", 401, "authError", "GET", objects, "")
	c.wants("a signature of nothing", 400, "Invalid JWT", "POST", "/token?grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=a.b.c", "")
}

// A project that is not billed for is refused, and a bucket may ask for one.
func TestBilling(t *testing.T) {
	c := newClient(t, Options{Anonymous: true})
	c.MakeBucket("b", Bucket{RequesterPays: true})
	c.Bill("ours")
	c.wants("no project", 400, "requester pays", "GET", objects, "")
	c.wants("our project", 200, "", "GET", objects, "", "X-Goog-User-Project", "ours")
	c.wants("another", 403, "permission to use project theirs", "GET", objects, "", "X-Goog-User-Project", "theirs")
}

// A session keeps whole blocks of what broke off, and lives for a week.
func TestSessionBreaks(t *testing.T) {
	c := newClient(t, Options{Anonymous: true})
	r, _ := c.ask("POST", "/upload/storage/v1/b/b/o?uploadType=resumable&name=s", "{}")
	session := r.Header.Get("Location")
	body := bytes.Repeat([]byte("0123456789abcdef"), 3*block/16)
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPut, session, io.MultiReader(bytes.NewReader(body[:2*block+100]), broken{}))
	if err != nil {
		t.Fatal(err)
	}
	q.ContentLength = int64(len(body))
	q.Header.Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(body)-1, len(body)))
	if _, err := http.DefaultClient.Do(q); err == nil {
		t.Fatal("a body that breaks off is sent")
	}
	deadline := time.Now().Add(10 * time.Second)
	for c.Held() < 2*block && time.Now().Before(deadline) { // it takes in what is on its way
		c.ask("PUT", session, "", "Content-Range", "bytes */*")
	}
	if r, _ := c.ask("PUT", session, "", "Content-Range", "bytes */*"); r.Header.Get("Range") != fmt.Sprintf("bytes=0-%d", 2*block-1) {
		t.Errorf("the session has %q", r.Header.Get("Range"))
	}
	if names := c.Sessions("b", "s"); len(names) != 1 {
		t.Errorf("sessions for %q", names)
	}
	crc := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
	c.wants("the rest", 200, `"size":"786432"`, "PUT", session, string(body[2*block:]),
		"Content-Range", fmt.Sprintf("bytes %d-%d/%d", 2*block, len(body)-1, len(body)), "X-Goog-Hash", "crc32c="+encodeCRC(crc))
	if names := c.Sessions("b", ""); len(names) != 0 {
		t.Errorf("sessions for %q", names)
	}
	r, _ = c.ask("POST", "/upload/storage/v1/b/b/o?uploadType=resumable&name=old", "{}")
	c.now = c.now.Add(sessionFor + time.Minute)
	c.wants("a session after a week", 404, "notFound", "PUT", r.Header.Get("Location"), "x", "Content-Range", "bytes 0-0/1")
}

// broken is a body that ends with an error.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken off") }

// A bucket with versions keeps what is replaced and deleted, until its generation is
// deleted; then the bytes go.
func TestVersions(t *testing.T) {
	c := newClient(t, Options{Anonymous: true})
	c.MakeBucket("b", Bucket{Versioning: true})
	var generations []string
	for _, body := range []string{"one", "two"} {
		_, got := c.ask("POST", insert+"a", body)
		var o resource
		if err := json.Unmarshal([]byte(got), &o); err != nil {
			t.Fatal(err)
		}
		generations = append(generations, o.Generation)
	}
	c.wants("the older one", 200, "one", "GET", objects+"/a?alt=media&generation="+generations[0], "")
	c.wants("a delete", 204, "", "DELETE", objects+"/a", "")
	c.wants("what was deleted", 404, "", "GET", objects+"/a", "")
	c.wants("its generation", 200, "two", "GET", objects+"/a?alt=media&generation="+generations[1], "")
	for _, g := range generations {
		c.wants("a delete for good", 204, "", "DELETE", objects+"/a?generation="+g, "")
	}
	left, err := os.ReadDir(c.options.Dir)
	if c.Held() != 0 || len(left) != 0 || err != nil {
		t.Errorf("%d bytes in %d files are held, %v", c.Held(), len(left), err)
	}
}

// What is composed shares its bytes with its sources, and outlives them.
func TestComposeShares(t *testing.T) {
	c := newClient(t, Options{Anonymous: true})
	for _, name := range []string{"a", "b"} {
		c.ask("POST", insert+name, strings.Repeat(name, 1000))
	}
	c.wants("a composition with a key", 200, "keys/k", "POST", objects+"/ab/compose?kmsKeyName=keys%2Fk", `{"sourceObjects":[{"name":"a"},{"name":"b"}],"deleteSourceObjects":true}`)
	if names := c.Names("b", ""); !slices.Equal(names, []string{"ab"}) || c.Held() != 2000 {
		t.Errorf("%q are there, and %d bytes", names, c.Held())
	}
	c.wants("a range over both", 206, "aaabbb", "GET", objects+"/ab?alt=media", "", "Range", "bytes=997-1002")
	c.wants("a delete", 204, "", "DELETE", objects+"/ab", "")
	if c.Held() != 0 {
		t.Errorf("%d bytes are held", c.Held())
	}
	c.wants("metadata that is too large", 400, "too large", "POST", "/upload/storage/v1/b/b/o?uploadType=resumable&name=x", `{"metadata":{"k":"`+strings.Repeat("v", 9000)+`"}}`)
}

// The checksum of two pieces is that of their bytes in a row.
func TestCombine(t *testing.T) {
	table := crc32.MakeTable(crc32.Castagnoli)
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.SliceOf(rapid.Byte()).Draw(t, "a"), rapid.SliceOf(rapid.Byte()).Draw(t, "b")
		if got, want := combine(crc32.Checksum(a, table), crc32.Checksum(b, table), int64(len(b))), crc32.Checksum(append(a, b...), table); got != want {
			t.Errorf("%08x, want %08x", got, want)
		}
	})
}
