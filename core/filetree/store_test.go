package filetree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/minio/crc64nvme"
	"pgregory.net/rapid"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
	"github.com/offsite-backup/offsite/core/filetree/faulty"
	"github.com/offsite-backup/offsite/core/object"
	"github.com/offsite-backup/offsite/core/transfer"
)

const partSize = 10_000

func newStore(fsys filetree.FS) *filetree.Store {
	return filetree.New(fsys, filetree.Options{Limits: transfer.Limits{PartSize: partSize, Workers: 2}, ReadBack: true})
}

// primitives are the ways in which a file can get its name.
var primitives = []struct {
	name    string
	without []faulty.Call
}{
	{"rename", nil},
	{"link", []faulty.Call{faulty.RenameNoReplace}},
	{"claim", []faulty.Call{faulty.RenameNoReplace, faulty.Link}},
	{"rename, no locks", []faulty.Call{faulty.TryLock}},
	{"claim, no locks", []faulty.Call{faulty.RenameNoReplace, faulty.Link, faulty.TryLock}},
}

func without(under filetree.FS, calls []faulty.Call) *faulty.FS {
	f := faulty.New(under)
	for _, call := range calls {
		f.Inject(faulty.Fault{Call: call, Rest: true, Err: errors.ErrUnsupported})
	}
	return f
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func put(ctx context.Context, s object.Store, key string, b []byte) (object.Object, error) {
	return s.Put(ctx, key, section(b), core.CRC64(crc64nvme.Checksum(b)))
}

func bytesOf(seed uint64, n int) []byte {
	b := make([]byte, n)
	chance := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = chance.Read(b)
	return b
}

func read(ctx context.Context, s object.Store, key string) ([]byte, error) {
	o, err := s.Stat(ctx, key)
	if err != nil || o.Size == 0 {
		return nil, err
	}
	r, err := s.Range(ctx, o, 0, o.Size)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

func keys(ctx context.Context, s object.Store, prefix string) (keys []string, err error) {
	for o, err := range s.List(ctx, prefix, "") {
		if err != nil {
			return keys, err
		}
		keys = append(keys, o.Key)
	}
	return keys, nil
}

func wantKind(t *testing.T, what string, err error, want core.ErrorKind) {
	t.Helper()
	if core.KindOf(err) != want {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

// leftovers are the names in tmp.
func leftovers(t *testing.T, fsys filetree.FS) (names []string) {
	t.Helper()
	infos, err := fsys.ReadDir(t.Context(), "tmp")
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		names = append(names, info.Name())
	}
	return names
}

func TestObjects(t *testing.T) {
	for _, way := range primitives {
		t.Run(way.name, func(t *testing.T) {
			ctx := t.Context()
			fsys := without(faulty.NewDisk(), way.without)
			s := newStore(fsys)
			for _, size := range []int{0, 1, 4095, 1<<20 + 1} {
				key, body := fmt.Sprint("data/", size), bytesOf(1, size)
				o, err := put(ctx, s, key, body)
				if err != nil {
					t.Fatal(err)
				}
				stat, err := s.Stat(ctx, key)
				if err != nil || stat != o || o.Size != int64(size) || o.Key != key || o.Version == "" {
					t.Errorf("put %+v, stat %+v, %v", o, stat, err)
				}
				if got, err := read(ctx, s, key); err != nil || !bytes.Equal(got, body) {
					t.Errorf("%d bytes became %d, %v", size, len(got), err)
				}
				_, err = put(ctx, s, key, bytesOf(2, size))
				wantKind(t, "second put", err, core.ErrExists)
				if got, _ := read(ctx, s, key); !bytes.Equal(got, body) {
					t.Error("the second put changed the first")
				}
			}
			if left := leftovers(t, fsys); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
			for range 2 {
				if err := s.Delete(ctx, "data/1"); err != nil {
					t.Error(err)
				}
			}
			_, err := s.Stat(ctx, "data/1")
			wantKind(t, "stat of what was deleted", err, core.ErrNotFound)
			if got, err := keys(ctx, s, "data/"); err != nil || !slices.Equal(got, []string{"data/0", "data/1048577", "data/4095"}) {
				t.Errorf("listed %q, %v", got, err)
			}
		})
	}
}

func TestRange(t *testing.T) {
	ctx, s := t.Context(), newStore(faulty.NewDisk())
	body := bytesOf(3, 5000)
	o, err := put(ctx, s, "data/x", body)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		off, n int64
		kind   core.ErrorKind
	}{
		{0, 5000, ""},
		{1, 1, ""},
		{4999, 1, ""},
		{0, 5001, core.ErrInvalid},
		{5000, 1, core.ErrInvalid},
		{-1, 1, core.ErrInvalid},
		{0, 0, core.ErrInvalid},
		{0, -1, core.ErrInvalid},
		{1 << 62, 1 << 62, core.ErrInvalid},
	} {
		r, err := s.Range(ctx, o, test.off, test.n)
		wantKind(t, fmt.Sprint(test.off, test.n), err, test.kind)
		if err != nil {
			continue
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body[test.off:test.off+test.n]) {
			t.Errorf("%d bytes from %d: %d bytes, %v", test.n, test.off, len(got), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := s.Delete(ctx, o.Key); err != nil {
		t.Fatal(err)
	}
	_, err = s.Range(ctx, o, 0, 1)
	wantKind(t, "range of what was deleted", err, core.ErrNotFound)
	if _, err := put(ctx, s, o.Key, body); err != nil {
		t.Fatal(err)
	}
	_, err = s.Range(ctx, o, 0, 1)
	wantKind(t, "range of another version", err, core.ErrChanged)
}

func TestRangeOfFileCutShort(t *testing.T) {
	ctx, disk := t.Context(), faulty.NewDisk()
	s := newStore(disk)
	o, err := put(ctx, s, "data/x", bytesOf(3, 5000))
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Range(ctx, o, 0, 5000)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := disk.OpenFile(ctx, "data/x", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(100); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 100 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestNoPlace(t *testing.T) {
	ctx, s := t.Context(), newStore(faulty.NewDisk())
	_, err := s.Stat(ctx, "meta/x")
	wantKind(t, "stat", err, core.ErrNoPlace)
	_, err = s.Range(ctx, object.Object{Key: "meta/x", Size: 1}, 0, 1)
	wantKind(t, "range", err, core.ErrNoPlace)
	_, err = keys(ctx, s, "meta/")
	wantKind(t, "list", err, core.ErrNoPlace)
	_, err = keys(ctx, s, "")
	wantKind(t, "list of all", err, core.ErrNoPlace)
	for _, err := range s.Multiparts(ctx, "") {
		wantKind(t, "multiparts", err, core.ErrNoPlace)
	}
	wantKind(t, "delete", s.Delete(ctx, "meta/x"), core.ErrNoPlace)
	if _, err := s.Begin(ctx, "data/x", "0123456789abcdef"); err != nil {
		t.Error(err)
	}
	_, err = s.Stat(ctx, "meta/x")
	wantKind(t, "stat in a new place", err, core.ErrNotFound)
	if all, err := keys(ctx, s, "meta/"); err != nil || len(all) > 0 {
		t.Errorf("list in a new place: %q, %v", all, err)
	}
}

func TestInvalidIsRefusedBeforeAnythingIsAsked(t *testing.T) {
	ctx, fsys := t.Context(), faulty.New(faulty.NewDisk())
	s := newStore(fsys)
	for _, key := range []string{"", "../x", "tmp/x", "a b", "a/../b"} {
		_, err := put(ctx, s, key, []byte("x"))
		wantKind(t, "put "+key, err, core.ErrInvalid)
		_, err = s.Stat(ctx, key)
		wantKind(t, "stat "+key, err, core.ErrInvalid)
		_, err = s.Range(ctx, object.Object{Key: key, Size: 1}, 0, 1)
		wantKind(t, "range "+key, err, core.ErrInvalid)
		_, err = s.Begin(ctx, key, "0123456789abcdef")
		wantKind(t, "begin "+key, err, core.ErrInvalid)
		wantKind(t, "delete "+key, s.Delete(ctx, key), core.ErrInvalid)
	}
	for _, token := range []string{"", "../../../../x/yz", "0123456789ABCDEF", "0123456789abcdef0"} {
		_, err := s.Begin(ctx, "data/x", token)
		wantKind(t, "begin with "+token, err, core.ErrInvalid)
	}
	for _, prefix := range []string{"../", "/", "a/../b/", "./"} {
		_, err := keys(ctx, s, prefix)
		wantKind(t, "list "+prefix, err, core.ErrInvalid)
	}
	if ops := fsys.Ops(); len(ops) > 0 {
		t.Errorf("asked: %v", ops)
	}
}

func TestEndedContextAsksNothing(t *testing.T) {
	fsys := faulty.New(faulty.NewDisk())
	s := newStore(fsys)
	o, err := put(t.Context(), s, "data/x", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Begin(t.Context(), "data/y", "0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for name, call := range map[string]func() error{
		"put":    func() error { _, err := put(ctx, s, "data/z", []byte("x")); return err },
		"stat":   func() error { _, err := s.Stat(ctx, "data/x"); return err },
		"range":  func() error { _, err := s.Range(ctx, o, 0, 1); return err },
		"list":   func() error { _, err := keys(ctx, s, "data/"); return err },
		"delete": func() error { return s.Delete(ctx, "data/x") },
		"begin":  func() error { _, err := s.Begin(ctx, "data/z", "0123456789abcdeg"); return err },
		"part":   func() error { return m.Put(ctx, object.Part{Size: 1}, section([]byte("x"))) },
		"parts":  func() error { _, err := m.Parts(ctx); return err },
		"commit": func() error { _, err := m.Commit(ctx, nil); return err },
		"abort":  func() error { return m.Abort(ctx) },
	} {
		if err := call(); !errors.Is(err, why) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := keys(t.Context(), s, ""); err != nil || !slices.Equal(got, []string{"data/x"}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestListOrderAndPrefixes(t *testing.T) {
	ctx, fsys := t.Context(), faulty.New(faulty.NewDisk())
	s := newStore(fsys)
	all := []string{"a/b-c", "a/b/c", "a/b/d/e", "a/b.c", "a/b0", "a-b", "a.b", "ab", "b", "meta/1.json", "meta/10.json", "meta/2.json", "metb/1"}
	for _, key := range all {
		if _, err := put(ctx, s, key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(all)
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b/", "a/b/d/", "a/b-", "m", "meta/", "meta/1", "meta/10.json", "z", "z/y/", "b/"} {
		var want []string
		for _, key := range all {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		got, err := keys(ctx, s, prefix)
		if prefix == "b/" { // an object, not a directory: nothing can be below it
			wantKind(t, "list b/", err, core.ErrUnsupported)
		} else if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q", prefix, got, err, want)
		}
	}
	before := len(fsys.Ops())
	if _, err := keys(ctx, s, "meta/1"); err != nil {
		t.Fatal(err)
	}
	for _, op := range fsys.Ops()[before:] {
		if op.Name != "meta" {
			t.Errorf("the list of meta/1 asked for %+v", op)
		}
	}
	for o, err := range s.List(ctx, "", "") {
		if err != nil || o.Key != all[0] {
			t.Errorf("%v, %v", o, err)
		}
		break
	}
	for i, after := range all {
		var got []string
		for o, err := range s.List(ctx, "", after) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, o.Key)
		}
		if !slices.Equal(got, all[i+1:]) {
			t.Errorf("after %q: %q, want %q", after, got, all[i+1:])
		}
	}
}

func TestStoreAgainstModel(t *testing.T) {
	names := []string{"meta/a.json", "meta/b.json", "data/a", "data/a.tar", "gone/a", "x"}
	prefixes := []string{"", "meta/", "data/", "data/a", "gone/", "nothing/"}
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		way := rapid.SampledFrom(primitives).Draw(t, "way")
		fsys := without(faulty.NewDisk(), way.without)
		s := newStore(fsys)
		if err := fsys.Mkdir(ctx, "."); err != nil {
			t.Fatal(err)
		}
		model := map[string][]byte{}
		versions := map[string]object.Object{}
		open := map[string]object.Multipart{}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				key := rapid.SampledFrom(names).Draw(t, "key")
				body := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body")
				o, err := put(ctx, s, key, body)
				if _, taken := model[key]; taken != errors.Is(err, core.ErrExists) || !taken && err != nil {
					t.Fatalf("put %s: %v", key, err)
				} else if !taken {
					model[key], versions[key] = body, o
				}
			},
			"parts": func(t *rapid.T) {
				key := rapid.SampledFrom(names).Draw(t, "key")
				body := bytesOf(rapid.Uint64Range(0, 1<<20).Draw(t, "seed"), rapid.IntRange(0, 5*partSize).Draw(t, "size"))
				m, err := s.Begin(ctx, key, fmt.Sprintf("%016d", len(open)))
				if err != nil {
					t.Fatal(err)
				}
				open[m.Token()] = m
				parts := partsOf(body)
				for _, i := range rapid.Permutation(parts).Draw(t, "order") {
					if err := m.Put(ctx, i, pieceOf(body, i)); err != nil {
						t.Fatal(err)
					}
				}
				o, err := m.Commit(ctx, parts)
				if _, taken := model[key]; taken != errors.Is(err, core.ErrExists) || !taken && err != nil {
					t.Fatalf("commit %s: %v", key, err)
				} else if !taken {
					model[key], versions[key] = body, o
				}
				if err := m.Abort(ctx); err != nil {
					t.Fatal(err)
				}
			},
			"delete": func(t *rapid.T) {
				key := rapid.SampledFrom(names).Draw(t, "key")
				if err := s.Delete(ctx, key); err != nil {
					t.Fatal(err)
				}
				delete(model, key)
			},
			"read": func(t *rapid.T) {
				key := rapid.SampledFrom(names).Draw(t, "key")
				want, there := model[key]
				got, err := read(ctx, s, key)
				if there && (err != nil || !bytes.Equal(got, want)) || !there && !errors.Is(err, core.ErrNotFound) {
					t.Fatalf("%s: %d bytes, %v", key, len(got), err)
				}
				if o := versions[key]; o.Size > 0 {
					r, err := s.Range(ctx, o, 0, o.Size)
					if there && err != nil || !there && !errors.Is(err, core.ErrNotFound) {
						t.Fatalf("range of %+v: %v", o, err)
					}
					if err == nil {
						_ = r.Close()
					}
				}
			},
			"list": func(t *rapid.T) {
				prefix := rapid.SampledFrom(prefixes).Draw(t, "prefix")
				want := []string{}
				for key := range model {
					if strings.HasPrefix(key, prefix) {
						want = append(want, key)
					}
				}
				slices.Sort(want)
				got, err := keys(ctx, s, prefix)
				if err != nil || slices.Compare(got, want) != 0 {
					t.Fatalf("%q: %q, %v, want %q", prefix, got, err, want)
				}
			},
			"": func(t *rapid.T) {
				for m, err := range s.Multiparts(ctx, "") {
					t.Fatalf("an upload is left: %v %v", m, err)
				}
			},
		})
	})
}

func partsOf(body []byte) (parts []object.Part) {
	for at := 0; at < len(body); at += partSize {
		piece := body[at:min(at+partSize, len(body))]
		parts = append(parts, object.Part{Index: len(parts), Offset: int64(at), Size: int64(len(piece)), CRC64: core.CRC64(crc64nvme.Checksum(piece))})
	}
	return parts
}

func pieceOf(body []byte, p object.Part) *io.SectionReader {
	return section(body[p.Offset : p.Offset+p.Size])
}
