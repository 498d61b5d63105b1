package object

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/offsite-backup/offsite/core"
)

// A remembering is a place with backups and a folder to cache in.
type remembering struct {
	*memory
	dir string
}

func remember(t *testing.T, n int) remembering {
	t.Helper()
	r := remembering{newMemory(), t.TempDir()}
	for i := range n {
		r.upload(t, fmt.Sprintf("b%02d", i))
	}
	return r
}

func (r remembering) upload(t *testing.T, id string) {
	t.Helper()
	if err := open(t, r.memory, core.Env{}).Upload(t.Context(), source(t, core.ID(id), content(1, 10))); err != nil {
		t.Fatal(err)
	}
}

func (r remembering) remove(id string) {
	delete(r.objects, "meta/"+id+".json")
	delete(r.objects, "data/"+id+".tar.zst")
}

// fetched lists, by an agent of its own, and returns how many documents that fetched.
func (r remembering) fetched(t *testing.T) (n int) {
	t.Helper()
	r.asked()
	b := open(t, r.memory, core.Env{CacheDir: r.dir})
	var want []core.ID
	for _, key := range r.keys() {
		if id := metaID(key); id != "" {
			want = append(want, id)
		}
	}
	if ids, errs := listAll(t, b); !slices.Equal(ids, want) || len(errs) > 0 {
		t.Fatalf("list: %v, %v, want %v", ids, errs, want)
	}
	for _, request := range r.asked() {
		if strings.HasPrefix(request, "range ") {
			n++
		}
	}
	return n
}

// file is the one that the cache consists of.
func (r remembering) file(t *testing.T) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(r.dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, name)
		}
		return err
	})
	if err != nil || len(all) != 1 {
		t.Fatalf("the cache has %q, %v", all, err)
	}
	return all[0]
}

// TestCache fetches what is new, wherever it sorts, and forgets what is gone.
func TestCache(t *testing.T) {
	r := remember(t, 20)
	expect := func(when string, want int) {
		t.Helper()
		if n := r.fetched(t); n != want {
			t.Errorf("%s: %d documents fetched, want %d", when, n, want)
		}
		before, err := os.Stat(r.file(t))
		if n := r.fetched(t); n != 0 {
			t.Errorf("%s, and again: %d documents fetched, want 0", when, n)
		}
		if after, e := os.Stat(r.file(t)); err != nil || e != nil || !os.SameFile(before, after) {
			t.Errorf("%s: what was the same was written again: %v, %v", when, err, e)
		}
	}
	expect("the first list", 20)
	size := int64(len(mustRead(t, r.file(t))))
	r.set("meta/b03.json", r.objects["meta/b03.json"].body)
	expect("a new version", 1)
	r.remove("b04")
	expect("one is gone", 0)
	r.remove("b19")
	expect("the last one is gone", 0)
	r.upload(t, "a")
	r.upload(t, "b04")
	r.upload(t, "c")
	expect("some are new", 3)
	r.remove("a")
	expect("the first one is gone", 0)
	if now := int64(len(mustRead(t, r.file(t)))); now > size+8 {
		t.Errorf("%d backups take %d bytes, then %d", 20, size, now)
	}
	for i := range 20 {
		r.remove(fmt.Sprintf("b%02d", i))
	}
	r.remove("c")
	expect("all are gone", 0)
	if text := mustRead(t, r.file(t)); string(text) != cacheMagic {
		t.Errorf("nothing takes %d bytes", len(text))
	}
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestCacheTorn damages the cache from its beginning to its end: the list is what the
// place has, and the cache whole again.
func TestCacheTorn(t *testing.T) {
	r := remember(t, 3)
	r.fetched(t)
	whole := mustRead(t, r.file(t))
	for i := 0; i < len(whole); i += 5 {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 0x20
		for _, torn := range [][]byte{flipped, whole[:i], slices.Concat(whole[:i], whole)} {
			if bytes.Equal(torn, whole) {
				continue
			}
			if err := os.WriteFile(r.file(t), torn, 0o600); err != nil {
				t.Fatal(err)
			}
			if n := r.fetched(t); n == 0 && i < len(whole)-1 && !bytes.HasPrefix(torn, whole) {
				t.Errorf("byte %d of %d: nothing was fetched", i, len(whole))
			}
			if got := mustRead(t, r.file(t)); !bytes.Equal(got, whole) {
				t.Fatalf("byte %d of %d: the cache is not mended", i, len(whole))
			}
		}
	}
}

// TestCacheUnread caches nothing that is not understood, so that it is fetched again.
func TestCacheUnread(t *testing.T) {
	r := remember(t, 3)
	body := r.objects["meta/b01.json"].body
	r.set("meta/b01.json", []byte("{}"))
	for range 2 {
		ids, errs := listAll(t, open(t, r.memory, core.Env{CacheDir: r.dir}))
		if len(ids) != 2 || len(errs) != 1 {
			t.Errorf("list: %v, %v", ids, errs)
		}
	}
	r.objects["meta/b01.json"] = stored{r.objects["meta/b01.json"].Object, body} // of the same version
	o := r.objects["meta/b01.json"]
	o.Size = int64(len(body))
	r.objects["meta/b01.json"] = o
	if n := r.fetched(t); n != 1 {
		t.Errorf("%d fetched, want 1", n)
	}
}

// TestCacheCutShort leaves the cache as it is when a list is not read to its end.
func TestCacheCutShort(t *testing.T) {
	r := remember(t, 20)
	r.fetched(t)
	before := mustRead(t, r.file(t))
	r.upload(t, "a")
	for range open(t, r.memory, core.Env{CacheDir: r.dir}).List(t.Context()) {
		break
	}
	if !bytes.Equal(mustRead(t, r.file(t)), before) {
		t.Error("the cache is another")
	}
	if n := r.fetched(t); n != 1 {
		t.Errorf("%d fetched, want 1", n)
	}
}

// TestCacheTwo lists with two agents at once, over one cache.
func TestCacheTwo(t *testing.T) {
	r := remember(t, 50)
	for range 20 {
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if ids, errs := listAll(t, open(t, r.memory, core.Env{CacheDir: r.dir})); len(ids) != len(r.keys())/2 || len(errs) > 0 {
					t.Errorf("list: %v, %v", ids, errs)
				}
			})
		}
		both.Wait()
		r.remove(fmt.Sprintf("b%02d", len(r.keys())/2-1))
	}
	r.fetched(t)
	if n := r.fetched(t); n != 0 {
		t.Errorf("%d fetched, want 0", n)
	}
}

// TestCacheLeft removes what a process left that was killed while it wrote.
func TestCacheLeft(t *testing.T) {
	r := remember(t, 2)
	r.fetched(t)
	left := filepath.Join(filepath.Dir(r.file(t)), "metadata-123")
	if err := os.WriteFile(left, []byte(cacheMagic), 0o600); err != nil {
		t.Fatal(err)
	}
	r.upload(t, "a")
	r.fetched(t)
	r.file(t)
}

// TestCacheDenied lists where nothing can be cached.
func TestCacheDenied(t *testing.T) {
	r := remember(t, 3)
	r.dir = filepath.Join(r.dir, "file")
	if err := os.WriteFile(r.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if n := r.fetched(t); n != 3 {
			t.Errorf("%d fetched, want 3", n)
		}
	}
}

// FuzzCache reads what anybody may have written there: what comes out went in.
func FuzzCache(f *testing.F) {
	d := cached{id: "b", version: `"1"`, doc: []byte("{}\n")}
	f.Add(d.record())
	f.Add(d.record()[:20])
	f.Add(binary.BigEndian.AppendUint64(nil, 1<<63))
	f.Fuzz(func(t *testing.T, text []byte) {
		from := bytes.NewReader(text)
		for {
			at := len(text) - from.Len()
			d, err := readRecord(from)
			if err != nil {
				return
			}
			if again := d.record(); !bytes.Equal(again, text[at:len(text)-from.Len()]) {
				t.Fatalf("%q was read from\n%q", again, text[at:])
			}
		}
	})
}
