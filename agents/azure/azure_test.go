package azure

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// configured is the configuration of a container with options of the URL form, and the
// key of the emulator's account.
func configured(t testing.TB, container, options string) *Config {
	t.Helper()
	c := &Config{}
	u, err := url.Parse("azblob://" + container + "/app?" + options)
	if err == nil {
		err = c.SetURL(u)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Key = core.NewSecret(emulator.AzuriteKey)
	return c
}

// on are the options of a container of a server.
func on(server *emulator.Azurite, options string) string {
	return "part_size=1MiB&endpoint=" + url.QueryEscape(server.URL()) + "&" + options
}

// driver is the store of a configuration.
func driver(t testing.TB, c *Config, env core.Env) *store {
	t.Helper()
	s, err := newStore(*c, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// denied is a server that grants nothing.
var denied = prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
	return refuse(q, http.StatusForbidden, "AuthorizationPermissionMismatch"), nil
})

const token = "0123456789abcdef"

// staged sends parts of a size, and returns them.
func staged(t *testing.T, s *store, key, token string, n, size int) (object.Multipart, []object.Part) {
	t.Helper()
	m, err := s.Begin(t.Context(), key, token)
	if err != nil {
		t.Fatal(err)
	}
	body := prove.Noise(n * size)
	var sent []object.Part
	for i := range n {
		b := body[i*size : (i+1)*size]
		p := object.Part{Index: i, Offset: int64(i * size), Size: int64(size), CRC64: prove.Sum(b)}
		if err := m.Put(t.Context(), p, prove.Section(b)); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, p)
	}
	return m, sent
}

// found are the uploads in parts of a key.
func found(t *testing.T, s *store, key string) (all []object.Multipart) {
	t.Helper()
	for m, err := range s.Multiparts(t.Context(), key) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// Blocks are found by their names, with what they hold, and committed from that.
func TestBlocksSayWhatTheyHold(t *testing.T) {
	server := azurite.Get(t)
	container := newContainer(t, server)
	s := driver(t, configured(t, container.Name, on(server, "")), core.Env{})
	const key, size = "data/x.tar.zst", 1000
	_, sent := staged(t, s, key, token, 5, size)
	uploads := found(t, s, key)
	if len(uploads) != 1 || uploads[0].Token() != token || uploads[0].Key() != key {
		t.Fatalf("found %v", uploads)
	}
	have, err := uploads[0].Parts(t.Context())
	if err != nil || len(have) != len(sent) {
		t.Fatalf("%d of %d parts are found, %v", len(have), len(sent), err)
	}
	o, err := uploads[0].Commit(t.Context(), sent)
	if err != nil || o.Size != 5*size || !o.Summed || o.Sum != prove.Sum(prove.Noise(5*size)) || o.Token != token {
		t.Fatalf("stored as %+v, %v", o, err)
	}
	_, err = uploads[0].Commit(t.Context(), sent)
	prove.Kind(t, "a second commit", err, core.ErrExists)
	if left := found(t, s, key); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
}

// An upload that is aborted takes nothing away from another of the same key, nor what
// was committed a moment before.
func TestAbortTakesNothingAway(t *testing.T) {
	server := azurite.Get(t)
	container := newContainer(t, server)
	s := driver(t, configured(t, container.Name, on(server, "")), core.Env{})
	const key, other = "data/x.tar.zst", "fedcba9876543210"
	first, _ := staged(t, s, key, token, 2, 1000)
	second, sent := staged(t, s, key, other, 2, 1000)
	if err := first.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	if have, err := second.Parts(t.Context()); err != nil || len(have) != 2 {
		t.Fatalf("the other upload has %d parts, %v", len(have), err)
	}
	if _, err := second.Commit(t.Context(), sent); err != nil {
		t.Fatal(err)
	}
	for _, m := range []object.Multipart{first, second} {
		if err := m.Abort(t.Context()); err != nil {
			t.Error(err)
		}
	}
	// What a commit does between the look and the delete.
	if err := s.drop(t.Context(), key); err != nil {
		t.Error(err)
	}
	if o, err := s.Stat(t.Context(), key); err != nil || o.Token != other {
		t.Errorf("what was committed is %+v, %v", o, err)
	}
}

// When all uploads of a key are aborted, nothing is left of any.
func TestAbortOfAll(t *testing.T) {
	server := azurite.Get(t)
	container := newContainer(t, server)
	s := driver(t, configured(t, container.Name, on(server, "")), core.Env{})
	const key = "data/x.tar.zst"
	for _, token := range []string{token, "fedcba9876543210"} {
		staged(t, s, key, token, 2, 1000)
	}
	uploads := found(t, s, key)
	if len(uploads) != 2 {
		t.Fatalf("%d uploads, want 2", len(uploads))
	}
	for _, m := range uploads {
		if err := m.Abort(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if left, err := container.Leftovers(t.Context(), "app"); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if len(s.aborted.left) > 0 {
		t.Errorf("what is gone is remembered: %v", s.aborted.left)
	}
}

// A server that does not delete blocks is no success.
func TestAbortThatLeavesBlocks(t *testing.T) {
	server := azurite.Get(t)
	container := newContainer(t, server)
	s := driver(t, configured(t, container.Name, on(server, "")), core.Env{Transport: prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
		if q.Method == http.MethodDelete {
			return refuse(q, http.StatusPreconditionFailed, "ConditionNotMet"), nil
		}
		return http.DefaultTransport.RoundTrip(q)
	})})
	m, sent := staged(t, s, "data/x.tar.zst", token, 2, 1000)
	err := m.Abort(t.Context())
	prove.Kind(t, "an abort", err, core.ErrUnsupported)
	if err == nil || !strings.Contains(err.Error(), "a week after") {
		t.Errorf("%v does not say what becomes of the blocks", err)
	}
	if _, err := m.Commit(t.Context(), sent); err != nil {
		t.Fatal(err)
	}
	if err := m.Abort(t.Context()); err != nil {
		t.Errorf("of what is committed: %v", err)
	}
}

// Blocks that nobody committed are not in the way of a blob.
func TestPutOverBlocks(t *testing.T) {
	server := azurite.Get(t)
	container := newContainer(t, server)
	s := driver(t, configured(t, container.Name, on(server, "")), core.Env{})
	const key = "data/x.tar.zst"
	staged(t, s, key, token, 2, 1000)
	body := prove.Noise(500)
	if o, err := prove.Put(t.Context(), s, key, body); err != nil || o.Size != 500 || o.Sum != prove.Sum(body) {
		t.Fatalf("stored as %+v, %v", o, err)
	}
	_, err := prove.Put(t.Context(), s, key, prove.Noise(400))
	prove.Kind(t, "a second blob", err, core.ErrExists)
	if o, err := s.Stat(t.Context(), key); err != nil || o.Size != 500 {
		t.Errorf("there is %+v, %v", o, err)
	}
	if left := found(t, s, key); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// A list and a look name the same version, in the form that a range asks for.
func TestVersion(t *testing.T) {
	server := azurite.Get(t)
	container := newContainer(t, server)
	rec := &prove.Recorder{Next: http.DefaultTransport}
	s := driver(t, configured(t, container.Name, on(server, "")), core.Env{Transport: rec})
	put, err := prove.Put(t.Context(), s, "meta/x.json", prove.Noise(100))
	if err != nil {
		t.Fatal(err)
	}
	for o, err := range s.List(t.Context(), "meta/", "") {
		if err != nil || o.Version != put.Version {
			t.Fatalf("listed as %q, %v; stored as %q", o.Version, err, put.Version)
		}
		r, err := s.Range(t.Context(), o, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
	}
	all := rec.Seen()
	if got := all[len(all)-1].Header["If-Match"]; len(got) != 1 || got[0] != put.Version || !strings.HasPrefix(got[0], `"`) {
		t.Errorf("If-Match is %q, the version %q", got, put.Version)
	}
}

// The folders of a hierarchical namespace are neither objects nor uploads.
func TestFolders(t *testing.T) {
	server := azurite.Get(t)
	container := newContainer(t, server)
	s := driver(t, configured(t, container.Name, on(server, "")), core.Env{Transport: prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
		if q.URL.Query().Get("comp") == "blocklist" && strings.HasSuffix(q.URL.Path, "/data/y") {
			return refuse(q, http.StatusConflict, "InvalidBlobType"), nil
		}
		return http.DefaultTransport.RoundTrip(q)
	})})
	_, err := s.at("data/y").Upload(t.Context(), streaming.NopCloser(strings.NewReader("")), &blockblob.UploadOptions{
		Metadata: map[string]*string{"hdi_isfolder": to.Ptr("true")},
	})
	if err != nil {
		t.Fatal(err)
	}
	staged(t, s, "data/z", token, 1, 1000)
	if all := found(t, s, ""); len(all) != 1 || all[0].Key() != "data/z" {
		t.Errorf("uploads: %v", all)
	}
	for o, err := range s.List(t.Context(), "", "") {
		t.Errorf("an object %+v, %v", o, err)
	}
}

// A commit makes a blob of the blocks that were meant, or none.
func TestCommitOfOtherParts(t *testing.T) {
	server := azurite.Get(t)
	container := newContainer(t, server)
	s := driver(t, configured(t, container.Name, on(server, "")), core.Env{})
	m, sent := staged(t, s, "data/x.tar.zst", token, 2, 1000)
	other := sent[1]
	other.CRC64++
	_, err := m.Commit(t.Context(), []object.Part{sent[0], other})
	prove.Kind(t, "a commit of a block that is not there", err, core.ErrNotFound)
	_, err = s.Stat(t.Context(), "data/x.tar.zst")
	prove.Kind(t, "the blob", err, core.ErrNotFound)
}

// What has other bytes than its checksum says is not stored.
func TestServerCompares(t *testing.T) {
	server := azurite.Get(t)
	container := newContainer(t, server)
	s := driver(t, configured(t, container.Name, on(server, "")), core.Env{})
	body := prove.Noise(1000)
	_, err := s.Put(t.Context(), "meta/x.json", prove.Section(body), prove.Sum(body)+1)
	prove.Kind(t, "a blob", err, core.ErrDamaged)
	m, err := s.Begin(t.Context(), "data/x.tar.zst", token)
	if err != nil {
		t.Fatal(err)
	}
	err = m.Put(t.Context(), object.Part{Size: 1000, CRC64: prove.Sum(body) + 1}, prove.Section(body))
	prove.Kind(t, "a block", err, core.ErrDamaged)
	if have, err := m.Parts(t.Context()); err != nil || len(have) > 0 {
		t.Errorf("%v is there, %v", have, err)
	}
}
