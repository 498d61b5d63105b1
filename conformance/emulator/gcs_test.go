package emulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/conformance/emulator/fakegcs"
)

// An exchange is a request of a script, and what of the answer the service documents.
type exchange struct {
	What   string
	Ask    string            // method and path; "$name" is what an earlier answer had
	Header map[string]string `json:",omitempty"`
	Body   string            `json:",omitempty"`

	Status int
	Want   map[string]string // by "header NAME", "body" or the path of a field: "items.0.name"; "" means that there is none
	Keep   map[string]string `json:",omitempty"` // names for what further requests need

	Wrong string `json:",omitempty"` // what fake-gcs-server does instead: it is not asked
	There int    `json:",omitempty"` // its status, where that alone is another
}

// TestGCSScript makes the requests of testdata/gcs.json and compares the answers: those
// of the server in this process, and of fake-gcs-server where that is not known to be
// wrong.
func TestGCSScript(t *testing.T) {
	doc, err := os.ReadFile("testdata/gcs.json")
	if err != nil {
		t.Fatal(err)
	}
	var script []exchange
	if err := json.Unmarshal(doc, &script); err != nil {
		t.Fatal(err)
	}
	const bucket = "script"
	t.Run("in process", func(t *testing.T) {
		g, err := StartFakeGCS(t.Context(), t.TempDir())
		must(t, err)
		t.Cleanup(g.Stop)
		g.MakeBucket(bucket, fakegcs.Bucket{})
		play(t, script, &http.Client{Transport: inProcess{g.Trusted()}}, g.URL(), false)
	})
	t.Run("fake-gcs-server", func(t *testing.T) {
		g, err := StartFakeGCSServer(t.Context(), t.TempDir())
		must(t, err)
		t.Cleanup(g.Stop)
		if _, err := g.MakeBucket(t.Context(), bucket); err != nil {
			t.Fatal(err)
		}
		play(t, script, http.DefaultClient, g.URL(), true)
	})
}

func play(t *testing.T, script []exchange, client *http.Client, base string, emulator bool) {
	kept := map[string]string{"QUANTUM": strings.Repeat("q", 256<<10)} // of which chunks are multiples
	fill := func(text string) string {
		for name, value := range kept {
			text = strings.ReplaceAll(text, "$"+name, value)
		}
		return text
	}
	for _, x := range script {
		if x.Wrong != "" && emulator {
			continue
		}
		method, target, _ := strings.Cut(fill(x.Ask), " ")
		q, err := http.NewRequestWithContext(t.Context(), method, base+target, strings.NewReader(fill(x.Body)))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range x.Header {
			q.Header.Set(name, fill(value))
		}
		r, err := client.Do(q)
		if err != nil {
			t.Fatal(x.What, err)
		}
		body, err := io.ReadAll(r.Body)
		if err = errors.Join(err, r.Body.Close()); err != nil {
			t.Fatal(x.What, err)
		}
		status := x.Status
		if emulator && x.There != 0 {
			status = x.There
		}
		if r.StatusCode != status {
			t.Errorf("%s: status %d, want %d: %s", x.What, r.StatusCode, status, body)
		}
		for path, want := range x.Want {
			if got := said(r, body, path); got != fill(want) {
				t.Errorf("%s: %s is %q, want %q", x.What, path, got, fill(want))
			}
		}
		for name, path := range x.Keep {
			kept[name] = said(r, body, path)
			if u, err := url.Parse(kept[name]); err == nil && u.Host != "" {
				kept[name] = u.RequestURI()
			}
		}
	}
}

// said is what an answer has at a path of exchange.Want.
func said(r *http.Response, body []byte, path string) string {
	if path == "body" {
		return string(body)
	}
	if name, ok := strings.CutPrefix(path, "header "); ok {
		return r.Header.Get(name)
	}
	var tree any
	in := json.NewDecoder(bytes.NewReader(body))
	in.UseNumber()
	if in.Decode(&tree) != nil {
		return ""
	}
	for word := range strings.SplitSeq(path, ".") {
		switch t := tree.(type) {
		case map[string]any:
			tree = t[word]
		case []any:
			var i int
			if _, err := fmt.Sscan(word, &i); err != nil || i >= len(t) {
				return ""
			}
			tree = t[i]
		default:
			return ""
		}
	}
	if tree == nil {
		return ""
	}
	return fmt.Sprint(tree)
}

// What the back door stores, both doors have, and what is not there is not.
func TestGCSBucket(t *testing.T) {
	g, err := StartFakeGCS(t.Context(), t.TempDir())
	must(t, err)
	t.Cleanup(g.Stop)
	b := g.MakeBucket("bucket", fakegcs.Bucket{})
	ctx := context.Background()
	for _, key := range []string{"meta/a.json", "data/ä b+%.tar", "tmp/x"} {
		if err := b.Put(ctx, "ns", key, []byte(key)); err != nil {
			t.Fatal(err)
		}
		if got, err := b.Get(ctx, "ns", key); err != nil || string(got) != key {
			t.Errorf("%s holds %q, %v", key, got, err)
		}
	}
	if all, err := b.List(ctx, "ns"); err != nil || strings.Join(all, " ") != "data/ä b+%.tar meta/a.json tmp/x" {
		t.Errorf("%q, %v", all, err)
	}
	if left, err := b.Leftovers(ctx, "ns"); err != nil || strings.Join(left, " ") != "tmp/x" {
		t.Errorf("%q, %v", left, err)
	}
	if got := g.Held(); got != int64(len("meta/a.jsondata/ä b+%.tartmp/x")) {
		t.Errorf("%d bytes are held", got)
	}
	if err := b.Delete(ctx, "ns", "tmp/x"); err != nil {
		t.Error(err)
	}
	if _, err := b.Get(ctx, "ns", "tmp/x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was deleted: %v", err)
	}
	if err := b.Delete(ctx, "ns", "tmp/x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a second delete: %v", err)
	}
}

// A server that was halted answers nobody, and one that was started again elsewhere has
// what it had.
func TestGCSRestarts(t *testing.T) {
	g, err := StartFakeGCS(t.Context(), t.TempDir())
	must(t, err)
	t.Cleanup(g.Stop)
	b, before := g.MakeBucket("bucket", fakegcs.Bucket{}), g.URL()
	if err := b.Put(t.Context(), "ns", "meta/a", []byte("a")); err != nil {
		t.Fatal(err)
	}
	g.Halt()
	if r, err := http.Get(before); err == nil {
		t.Errorf("a server that was halted answers %s", r.Status)
	}
	must(t, g.Restart())
	r, err := http.Get(g.URL() + "/storage/v1/b/bucket/o")
	if err != nil || r.StatusCode != http.StatusUnauthorized {
		t.Fatal(r, err)
	}
	_ = r.Body.Close()
	key, err := os.ReadFile(g.Credentials)
	if err != nil || !bytes.Contains(key, []byte(g.Address)) {
		t.Errorf("the credentials are not for %s: %v", g.Address, err)
	}
	if got, err := b.Get(t.Context(), "ns", "meta/a"); err != nil || string(got) != "a" {
		t.Errorf("%q, %v", got, err)
	}
}
