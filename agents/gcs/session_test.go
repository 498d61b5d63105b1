package gcs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/emulator/fakegcs"
	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// How archives go up is what the options say, and else what the bucket says.
func TestInSession(t *testing.T) {
	for what, test := range map[string]struct {
		options string
		like    fakegcs.Bucket
		denied  []string
		want    bool
	}{
		"all rights":                  {"", fakegcs.Bucket{}, nil, false},
		"no right to delete":          {"", fakegcs.Bucket{}, []string{"storage.objects.delete"}, true},
		"no right to delete or look":  {"", fakegcs.Bucket{}, []string{"storage.objects.delete", "storage.buckets.get"}, true},
		"no right to look":            {"", fakegcs.Bucket{Retention: time.Hour}, []string{"storage.buckets.get"}, false},
		"no right to look or list":    {"", fakegcs.Bucket{}, []string{"storage.buckets.get", "storage.objects.list"}, false},
		"retention":                   {"", fakegcs.Bucket{Retention: time.Hour}, nil, true},
		"retention, no right to more": {"", fakegcs.Bucket{Retention: time.Hour}, []string{"storage.buckets.getIamPolicy"}, true},
		"holds":                       {"", fakegcs.Bucket{EventBasedHold: true}, nil, true},
		"a colder bucket":             {"", fakegcs.Bucket{StorageClass: "NEARLINE"}, nil, true},
		"a colder class":              {"storage_class=COLDLINE", fakegcs.Bucket{}, nil, true},
		"the class that is not cold":  {"storage_class=STANDARD", fakegcs.Bucket{}, nil, false},
		"upload=parts":                {"upload=parts&storage_class=NEARLINE", fakegcs.Bucket{Retention: time.Hour}, []string{"storage.objects.delete"}, false},
		"upload=session":              {"upload=session", fakegcs.Bucket{}, nil, true},
		"upload=auto, and all rights": {"upload=auto", fakegcs.Bucket{}, nil, false},
	} {
		t.Run(what, func(t *testing.T) {
			server := started(t)
			bucket := newBucket(t, server, test.like)
			server.Deny(test.denied...)
			rec := &recorder{next: http.DefaultTransport}
			s := driver(t, configured(t, bucket.Name, on(server, test.options)), core.Env{Transport: rec})
			for range 2 {
				if got, err := s.inSession(t.Context()); err != nil || got != test.want {
					t.Errorf("in a session: %v, %v; want %v", got, err, test.want)
				}
			}
			if all, _ := rec.seen(); len(all) > 2 {
				t.Errorf("%d requests to find out, for two archives", len(all))
			}
		})
	}
}

// started is a server for one test, which may change it.
func started(t *testing.T) *emulator.FakeGCS {
	t.Helper()
	g, err := emulator.StartFakeGCS(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	return g
}

// sessioned is a store whose archives go up in sessions, with a state folder.
func sessioned(t *testing.T, server *emulator.FakeGCS, bucket, state string, rt http.RoundTripper) *store {
	t.Helper()
	return driver(t, configured(t, bucket, on(server, "upload=session")), core.Env{StateDir: state, Transport: rt})
}

// Whatever its size, an archive is there when its session ends, and not before.
func TestSessionSizes(t *testing.T) {
	server := fake.Get(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	for _, size := range []int{1, quantum - 1, quantum, quantum + 1, 3 * quantum, 3*quantum + 5} {
		s := sessioned(t, server, bucket.Name, t.TempDir(), nil)
		key := fmt.Sprintf("data/of-%d.tar", size)
		m, err := s.Begin(t.Context(), key, someToken)
		if err != nil {
			t.Fatal(err)
		}
		body := prove.Noise(size)
		parts := partsOf(body, quantum)
		if err := send(t.Context(), m, body, parts); err != nil {
			t.Fatal(err)
		}
		_, err = s.Stat(t.Context(), key)
		prove.Kind(t, "before it is committed", err, core.ErrNotFound)
		o, err := m.Commit(t.Context(), parts)
		if err != nil || o.Size != int64(size) || o.Token != someToken || o.Summed {
			t.Errorf("%d bytes: stored as %+v, %v", size, o, err)
		}
		if got, err := bucket.Get(t.Context(), "app", key); err != nil || crc64nvme.Checksum(got) != crc64nvme.Checksum(body) {
			t.Errorf("%d bytes: %d others, %v", size, len(got), err)
		}
	}
}

// An upload whose process ended goes on where the server stands, and writes down nothing
// that others may read.
func TestSessionResumes(t *testing.T) {
	server := started(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	state := t.TempDir()
	body := prove.Noise(8*quantum + 77)
	parts := partsOf(body, 2*quantum)
	first, end := context.WithCancel(t.Context())
	m, err := sessioned(t, server, bucket.Name, state, nil).Begin(first, "data/x.tar", someToken)
	if err == nil {
		err = send(first, m, body, parts[:2])
	}
	if err != nil {
		t.Fatal(err)
	}
	breaks := proxied(t, server, &fault.Rule{Match: chunks, Fault: fault.ResetUp(quantum + 1000)})
	m.(*session).base = breaks
	prove.Kind(t, "a part that breaks off", m.Put(first, parts[2], prove.Section(body[4*quantum:6*quantum])), core.ErrUnavailable)
	others := func(s *store) (all []object.Multipart) {
		for m, err := range s.Multiparts(t.Context(), "data/x.tar") {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
		return all
	}
	if got := others(sessioned(t, server, bucket.Name, state, nil)); len(got) != 1 {
		t.Errorf("%d uploads, while one is running", len(got))
	} else {
		_, err := got[0].Parts(t.Context())
		prove.Kind(t, "an upload that another has", err, core.ErrNotFound)
		if err := got[0].Abort(t.Context()); err != nil {
			t.Error(err)
		}
	}
	end() // as the end of the process does
	rec := &recorder{next: http.DefaultTransport}
	s := sessioned(t, server, bucket.Name, state, rec)
	if got := others(sessioned(t, server, bucket.Name, t.TempDir(), nil)); len(got) != 0 {
		t.Errorf("%d uploads, where nothing is remembered", len(got))
	}
	private(t, state)
	all, have, err := others(s), []object.Part(nil), error(nil)
	for end := time.Now().Add(20 * time.Second); ; all = others(s) { // what the context's end frees is free soon
		if have, err = all[0].Parts(t.Context()); err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil || len(have) != 2 || have[1].CRC64 != parts[1].CRC64 || all[0].Token() != someToken {
		t.Fatalf("resumed with %+v, %v", have, err)
	}
	if err := send(t.Context(), all[0], body, parts[2:]); err != nil {
		t.Fatal(err)
	}
	o, err := all[0].Commit(t.Context(), parts)
	if err != nil || o.Size != int64(len(body)) {
		t.Fatalf("stored as %+v, %v", o, err)
	}
	sent := int64(0)
	asked, _ := rec.seen()
	for _, q := range asked {
		sent += max(0, q.ContentLength)
		if q.Header.Get("Authorization") == "" {
			t.Errorf("%s %s has no token, which the project that pays is for", q.Method, q.Header.Get("Content-Range"))
		}
	}
	if most := int64(len(body) - 5*quantum); sent > most {
		t.Errorf("%d bytes were sent, where %d were missing", sent, most)
	}
	if left := files(t, state); len(left) > 0 || len(server.Sessions(bucket.Name, "")) > 0 {
		t.Errorf("left: %q", left)
	}
}

// chunks are requests with bytes of an archive.
func chunks(q fault.Request) bool { return q.Method == http.MethodPut && q.Length > 0 }

func proxied(t *testing.T, server *emulator.FakeGCS, rules ...*fault.Rule) (url string) {
	t.Helper()
	p, err := fault.Start(fault.Options{Upstream: server.Address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	p.Arm(rules...)
	return "http://" + p.Addr()
}

func files(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// private demands that nobody else may read what is written down.
func private(t *testing.T, dir string) {
	t.Helper()
	found := files(t, dir)
	if len(found) == 0 {
		t.Error("nothing is written down")
	}
	for _, path := range append(found, filepath.Dir(found[0])) {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
	}
}

// What cannot be gone on with ends, and the next upload begins anew.
func TestSessionThatIsNoUse(t *testing.T) {
	server := fake.Get(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	body := prove.Noise(4*quantum + 5)
	parts := partsOf(body, quantum)
	for what, test := range map[string]struct {
		spoil func(t *testing.T, m *session)
		want  core.ErrorKind // of its parts
		parts int
	}{
		"it was cancelled":       {aborted, core.ErrNotFound, 0},
		"nobody knows its bytes": {func(t *testing.T, m *session) { m.record.lines = m.record.lines[:1] }, "", 0},
		"nothing happened":       {func(*testing.T, *session) {}, "", 2},
	} {
		s := sessioned(t, server, bucket.Name, "", nil)
		m, err := s.Begin(t.Context(), "data/x.tar", someToken)
		if err == nil {
			err = send(t.Context(), m, body, parts[:2])
		}
		if err != nil {
			t.Fatal(err)
		}
		test.spoil(t, m.(*session))
		m.(*session).known = false
		have, err := m.Parts(t.Context())
		prove.Kind(t, what, err, test.want)
		if len(have) != test.parts {
			t.Errorf("%s: %d parts, want %d", what, len(have), test.parts)
		}
		if err := m.Abort(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func aborted(t *testing.T, m *session) {
	t.Helper()
	if err := m.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := m.Put(t.Context(), object.Part{Index: 2, Offset: m.stored, Size: 1, CRC64: prove.Sum([]byte("x"))}, prove.Section([]byte("x")))
	prove.Kind(t, "a part of it", err, core.ErrNotFound)
}

// A part that was begun with other bytes ends the upload; bytes that arrived as others
// are found out with the last ones; a name that is taken is refused then.
func TestSessionOfOtherBytes(t *testing.T) {
	server := fake.Get(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	body := prove.Noise(2*quantum + 5)
	parts := partsOf(body, quantum)
	begun := func(at string) *session {
		m, err := sessioned(t, server, bucket.Name, t.TempDir(), nil).Begin(t.Context(), "data/x.tar", someToken)
		if err != nil {
			t.Fatal(err)
		}
		if at != "" {
			m.(*session).base = at
		}
		return m.(*session)
	}
	half := begun(proxied(t, server, &fault.Rule{Match: chunks, Fault: fault.Lost()}))
	whole := object.Part{Size: int64(len(body)), CRC64: prove.Sum(body)}
	prove.Kind(t, "a part whose answer is lost", half.Put(t.Context(), whole, prove.Section(body)), core.ErrUnavailable)
	other := slices.Clone(body)
	other[len(other)-1]++
	whole.CRC64 = prove.Sum(other)
	prove.Kind(t, "the same part with another last byte", half.Put(t.Context(), whole, prove.Section(other)), core.ErrChanged)

	flipped := begun(proxied(t, server, &fault.Rule{Match: chunks, Fault: fault.FlipUp(1000)}))
	if err := send(t.Context(), flipped, body, parts); err != nil {
		t.Fatal(err)
	}
	_, err := flipped.Commit(t.Context(), parts)
	prove.Kind(t, "a commit of bytes that are others", err, core.ErrDamaged)
	_, err = flipped.Commit(t.Context(), parts[:1])
	prove.Kind(t, "a commit of half of it", err, core.ErrNotFound)

	late := begun("")
	if err := send(t.Context(), late, body, parts); err != nil {
		t.Fatal(err)
	}
	if err := bucket.Put(t.Context(), "app", "data/x.tar", []byte("another's")); err != nil {
		t.Fatal(err)
	}
	_, err = late.Commit(t.Context(), parts)
	prove.Kind(t, "a commit where there is one", err, core.ErrExists)
}

// What the wire does to a chunk, the agent gets over, and what is stored is right.
func TestSessionOnTheWire(t *testing.T) {
	server := fake.Get(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	body := prove.Noise(3*minPart + 5)
	for i, f := range []fault.Fault{
		fault.ResetUp(0), fault.ResetUp(4), fault.ResetUp(-1), fault.StallUp(3), fault.StallAnswer(), fault.Lost(), fault.Instead(503, nil, ""),
	} {
		for skip := range 4 {
			rule := &fault.Rule{Match: func(q fault.Request) bool { return q.Method == http.MethodPut }, Skip: skip, Fault: f}
			c := configured(t, bucket.Name, on(server, "upload=session"))
			c.Prefix = fmt.Sprintf("wire/%d/%d", i, skip)
			c.Endpoint = proxied(t, server, rule)
			env := core.Env{StateDir: t.TempDir(), Patience: core.Patience{Stall: time.Second, Retry: 20 * time.Second}}
			a := prove.Open(t, c, env)
			prove.Holds(t, a, prove.Uploaded(t, a, body), body)
			if rule.Fired() == 0 {
				t.Errorf("%s at %d does not happen", f, skip)
			}
			if left := append(files(t, env.StateDir+"/gcs-sessions"), server.Sessions(bucket.Name, c.Prefix)...); len(left) > 0 {
				t.Errorf("%s at %d: left are %q", f, skip, left)
			}
		}
	}
}

// A host that a server names is not asked, and one that names none is found out.
func TestSessionGoesWhereItWasSent(t *testing.T) {
	for location, want := range map[string]core.ErrorKind{
		"https://elsewhere.example/upload/storage/v1/b/bucket/o?upload_id=secret": "",
		"https://elsewhere.example/upload/storage/v1/b/bucket/o":                  core.ErrUnavailable,
		"":      core.ErrUnavailable,
		"%zz":   core.ErrUnavailable,
		"/only": core.ErrUnavailable,
	} {
		var asked []string
		s := saying(t, func(q *http.Request) (*http.Response, error) {
			asked = append(asked, q.URL.Host)
			if q.Method != http.MethodPost {
				return nil, errors.New("nobody is there")
			}
			r := refuse(q, http.StatusOK, "", "")
			r.Header.Set("Location", location)
			return r, nil
		})
		s.config.Upload = uploadSession
		m, err := s.Begin(t.Context(), "data/x", someToken)
		prove.Kind(t, location, err, want)
		if err != nil {
			continue
		}
		b := prove.Noise(quantum)
		err = m.Put(t.Context(), partsOf(b, quantum)[0], prove.Section(b))
		m.(*session).known = false
		_, e := m.Parts(t.Context())
		if err = errors.Join(err, e, m.Abort(t.Context())); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v tells where the session is", err)
		}
		if !slices.Equal(asked, []string{"gcs.example", "gcs.example", "gcs.example", "gcs.example"}) {
			t.Errorf("asked were %q", asked)
		}
	}
}

// An unhurried context never gets to what it is to do when it has ended.
type unhurried struct{ context.Context }

func (unhurried) AfterFunc(func()) (stop func() bool) { return func() bool { return true } }
func (unhurried) Value(any) any                       { return nil } // not the context in it

// The session of an upload that has ended is the next one's at once.
func TestSessionIsFreeAtOnce(t *testing.T) {
	server := fake.Get(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	s := sessioned(t, server, bucket.Name, t.TempDir(), nil)
	life, end := context.WithCancel(t.Context())
	defer end()
	m, err := s.Begin(unhurried{life}, "data/x", someToken)
	body := prove.Noise(2 * quantum)
	parts := partsOf(body, quantum)
	if err == nil {
		err = m.Put(life, parts[0], prove.Section(body[:quantum]))
	}
	if err != nil {
		t.Fatal(err)
	}
	next := func() object.Multipart {
		for m, err := range s.Multiparts(t.Context(), "data/") {
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		t.Fatal("no session is there")
		return nil
	}
	_, err = next().Parts(t.Context())
	prove.Kind(t, "while the upload lives", err, core.ErrNotFound)
	end()
	m = next()
	if got, err := m.Parts(t.Context()); err != nil || len(got) != 1 {
		t.Fatalf("after its end: %v, %v", got, err)
	}
	if err := m.Put(t.Context(), parts[1], prove.Section(body[quantum:])); err != nil {
		t.Error(err)
	}
	if err := m.Abort(t.Context()); err != nil {
		t.Error(err)
	}
}

// A session that is refused for what it is no fault of is there for a later upload,
// which sends what is missing. One that has ended is forgotten, and one that is given up
// is cancelled.
func TestSessionThatIsRefused(t *testing.T) {
	server := started(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	file := filepath.Join(t.TempDir(), "archive.tar.zst")
	if err := os.WriteFile(file, prove.Noise(4*minPart), 0o600); err != nil {
		t.Fatal(err)
	}
	done := map[core.ErrorKind]bool{}
	for i, r := range refusals {
		if r.want.Temporary() || r.status < 400 || done[r.want] {
			continue
		}
		done[r.want] = true
		json := http.Header{"Content-Type": {"application/json"}}
		rule := &fault.Rule{Match: chunks, Skip: 2, Fault: fault.Answer(r.status, json, errorBody(r.status, r.reason, r.message))}
		c := configured(t, bucket.Name, on(server, "upload=session"))
		c.Prefix, c.Endpoint = fmt.Sprint("refusal-", i), proxied(t, server, rule)
		rec := &recorder{next: http.DefaultTransport}
		a := prove.Open(t, c, core.Env{StateDir: t.TempDir(), Transport: rec})
		what := fmt.Sprint(r.status, " ", r.reason)
		b := core.Backup{ID: core.ID("20261123T045900Z-" + someToken[:13]), Job: "app"}
		_, err := core.Upload(t.Context(), a, file, b)
		again := errors.Is(err, core.ErrNotFound) || err == nil // it began anew by itself
		if !again {
			prove.Kind(t, what, err, r.want)
		}
		stays := slices.Contains([]core.ErrorKind{core.ErrDenied, core.ErrUnauthenticated, core.ErrNoSpace, core.ErrNoPlace}, r.want)
		if left := server.Sessions(bucket.Name, c.Prefix+"/"); (len(left) > 0) != stays && !again {
			t.Errorf("%s: sessions for %q are left", what, left)
		}
		before, _ := rec.seen()
		if _, err := core.Upload(t.Context(), a, file, b); err != nil {
			t.Errorf("%s: a later upload: %v", what, err)
		}
		after, _ := rec.seen()
		sent := int64(0)
		for _, q := range after[len(before):] {
			if q.Method == http.MethodPut {
				sent += q.ContentLength
			}
		}
		if stays && sent != 2*minPart {
			t.Errorf("%s: %d bytes were sent, where %d were missing", what, sent, 2*minPart)
		}
		if left := server.Sessions(bucket.Name, c.Prefix+"/"); len(left) > 0 {
			t.Errorf("%s: sessions for %q are left at last", what, left)
		}
	}
}

// An upload that begins anew cancels the session that was of no use, and forgets it.
func TestSessionOfAnotherSource(t *testing.T) {
	server := started(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	state := t.TempDir()
	before, end := context.WithCancel(t.Context())
	b := core.Backup{ID: core.ID("20261123T045900Z-" + someToken[:13]), Job: "app"}
	m, err := sessioned(t, server, bucket.Name, state, nil).Begin(before, "data/"+string(b.ID)+".tar.zst", someToken)
	other := prove.Noise(2 * minPart)
	if err == nil {
		err = send(before, m, other[:minPart], partsOf(other[:minPart], minPart))
	}
	end()
	file := filepath.Join(t.TempDir(), "archive.tar.zst")
	if err == nil {
		err = os.WriteFile(file, other[1:], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	env, log := said(t)
	env.StateDir = state
	if _, err := core.Upload(t.Context(), prove.Open(t, configured(t, bucket.Name, on(server, "upload=session")), env), file, b); err != nil {
		t.Fatal(err)
	}
	if left := append(files(t, state+"/gcs-sessions"), server.Sessions(bucket.Name, "")...); len(left) > 0 {
		t.Errorf("left are %q; said was %s", left, log)
	}
}

// Who looks at sessions takes none from an upload that goes on with one.
func TestSessionThatIsLookedAt(t *testing.T) {
	server := started(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	state := t.TempDir()
	body := prove.Noise(2 * quantum)
	before, end := context.WithCancel(t.Context())
	m, err := sessioned(t, server, bucket.Name, state, nil).Begin(before, "data/x.tar", someToken)
	if err == nil {
		err = send(before, m, body[:quantum], partsOf(body[:quantum], quantum))
	}
	if err != nil {
		t.Fatal(err)
	}
	end()
	found := func() object.Multipart {
		for m, err := range sessioned(t, server, bucket.Name, state, nil).Multiparts(t.Context(), "") {
			if err == nil {
				return m
			}
			t.Error(err)
		}
		t.Fatal("no session is found")
		return nil
	}
	looking, going := found(), found()
	have := func(m object.Multipart) (parts []object.Part) {
		for until := time.Now().Add(20 * time.Second); ; { // what the context's end frees is free soon
			if parts, err = m.Parts(t.Context()); err == nil || time.Now().After(until) {
				return parts
			}
		}
	}
	if a, b := have(looking), have(going); len(a) != 1 || len(b) != 1 {
		t.Fatalf("parts are %+v and %+v, %v", a, b, err)
	}
	parts := partsOf(body, quantum)
	if err := send(t.Context(), going, body, parts[1:]); err != nil {
		t.Fatal(err)
	}
	_, err = looking.Parts(t.Context())
	prove.Kind(t, "a look at what goes on", err, core.ErrNotFound)
	prove.Kind(t, "a part of what goes on", looking.Put(t.Context(), parts[1], prove.Section(body[quantum:])), core.ErrNotFound)
	if err := looking.Abort(t.Context()); err != nil {
		t.Error(err)
	}
	if o, err := going.Commit(t.Context(), parts); err != nil || o.Size != int64(len(body)) {
		t.Errorf("stored as %+v, %v", o, err)
	}
	if left := files(t, state); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
}

// Bytes that a server took, without a word of it, are not missing.
func TestSessionWhoseLastAnswerIsLost(t *testing.T) {
	body := prove.Noise(quantum + 10)
	parts := partsOf(body, len(body))
	crc, err := sumOf(prove.Section(body), parts[0].CRC64)
	if err != nil {
		t.Fatal(err)
	}
	for taken, want := range map[int]string{quantum: "bytes 262144-262153/262154", quantum + 4: "bytes 262148-262153/262154", len(body): "bytes */262154"} {
		has, last := 0, ""
		s := saying(t, func(q *http.Request) (*http.Response, error) {
			span := q.Header.Get("Content-Range")
			r := refuse(q, http.StatusPermanentRedirect, "", "")
			switch {
			case q.Method == http.MethodPost:
				r = refuse(q, http.StatusOK, "", "")
				r.Header.Set("Location", "/upload?upload_id=x")
			case strings.HasSuffix(span, "/262154") && has == quantum && last == "":
				has, last = taken, span
				return nil, errors.New("the line is cut")
			case strings.HasSuffix(span, "/262154"):
				last = span
				r = refuse(q, http.StatusOK, "", "")
				r.Body = io.NopCloser(strings.NewReader(fmt.Sprintf(`{"name":"app/data/x","generation":"1","updated":"2026-11-23T00:00:00Z","size":"262154","crc32c":%q}`, crc)))
				return r, nil
			case span != "bytes */*":
				has = quantum
			}
			r.Header.Set("Range", fmt.Sprintf("bytes=0-%d", has-1))
			return r, nil
		})
		s.config.Upload = uploadSession
		m, err := s.Begin(t.Context(), "data/x", someToken)
		if err == nil {
			err = send(t.Context(), m, body, parts)
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Commit(t.Context(), parts)
		prove.Kind(t, "a commit whose answer is lost", err, core.ErrUnavailable)
		if o, err := m.Commit(t.Context(), parts); err != nil || o.Size != int64(len(body)) || last != want {
			t.Errorf("after %d bytes: stored as %+v, %v, by %q; want %q", taken, o, err, last, want)
		}
	}
}

// Without a state folder a session is found by who began it, and nobody goes on with it.
func TestSessionWithoutState(t *testing.T) {
	server := started(t)
	bucket := newBucket(t, server, fakegcs.Bucket{})
	a := prove.Open(t, configured(t, bucket.Name, on(server, "upload=session")), core.Env{})
	prove.Found(t, prove.Examined(t, a), map[string]string{"upload": "note", "versions": "note"})
	if left := server.Sessions(bucket.Name, ""); len(left) > 0 {
		t.Errorf("left are sessions for %q", left)
	}
}

// Where the bucket may not be looked at, parts that it keeps say that no more should be
// made.
func TestSessionAfterPartsThatStay(t *testing.T) {
	for what, like := range map[string]fakegcs.Bucket{"retention": {Retention: time.Hour}, "holds": {EventBasedHold: true}} {
		t.Run(what, func(t *testing.T) {
			server := started(t)
			bucket := newBucket(t, server, like)
			server.Deny("storage.buckets.get")
			c := configured(t, bucket.Name, on(server, ""))
			body := prove.Noise(2 * minPart)
			a := prove.Open(t, c, core.Env{})
			for range 2 {
				prove.Uploaded(t, a, body)
			}
			prove.Uploaded(t, prove.Open(t, c, core.Env{}), body)
			if n := len(server.Names(bucket.Name, "app/tmp/")); n != 2 {
				t.Errorf("%d parts stay, want those of the first upload", n)
			}
		})
	}
}
