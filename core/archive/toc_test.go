package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/offsite-backup/offsite/core"
	"pgregory.net/rapid"
)

// anyName draws a name of any bytes.
func anyName(t *rapid.T, label string) string {
	part := rapid.Custom(func(t *rapid.T) string {
		b := rapid.SliceOfN(rapid.OneOf(rapid.ByteRange(1, 255), rapid.ByteRange('a', 'b'), rapid.Just(byte('.'))), 1, 60).Draw(t, "bytes")
		return strings.ReplaceAll(string(b), "/", "-")
	})
	parts := rapid.SliceOfN(part, 1, 5).Draw(t, label)
	if rapid.IntRange(0, 20).Draw(t, "long") == 0 {
		for len(strings.Join(parts, "/")) < 4000 {
			parts = append(parts, strings.Repeat("x", 250))
		}
	}
	name := strings.Join(parts, "/")
	if !validName(name) {
		return "name"
	}
	return name
}

// anyTime draws a time that a file system can have.
func anyTime(t *rapid.T) time.Time {
	sec := rapid.OneOf(rapid.Int64Range(-1<<35, 1<<36), rapid.Int64Range(-2, 2)).Draw(t, "sec")
	return time.Unix(sec, rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 1e9-1)).Draw(t, "nsec")).UTC()
}

func anyMode(t *rapid.T) fs.FileMode {
	types := make([]fs.FileMode, len(fileTypes))
	for i, x := range fileTypes {
		types[i] = x.mode
	}
	m := rapid.SampledFrom(types).Draw(t, "type") | fs.FileMode(rapid.IntRange(0, 0o777).Draw(t, "perm"))
	for _, b := range modeBits {
		if rapid.Bool().Draw(t, "bit") {
			m |= b.mode
		}
	}
	return m
}

// archive/tar reads what header.append writes, and nothing is lost.
func TestHeader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := &header{
			name: anyName(t, "name"), mode: anyMode(t), mtime: anyTime(t),
			uid:   rapid.IntRange(0, 1<<32-1).Draw(t, "uid"),
			gid:   rapid.IntRange(0, 1<<32-1).Draw(t, "gid"),
			user:  rapid.StringN(0, 40, 80).Filter(func(s string) bool { return !strings.Contains(s, "\x00") }).Draw(t, "user"),
			major: rapid.Int64Range(0, 1<<12-1).Draw(t, "major"),
			minor: rapid.Int64Range(0, 1<<20-1).Draw(t, "minor"),
		}
		h.kind = kindOf(h.mode)
		switch h.kind {
		case typeRegular:
			h.size = rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, 1<<60)).Draw(t, "size")
		case typeSymlink:
			h.link = anyName(t, "link")
		}
		keys := rapid.SliceOfNDistinct(rapid.StringMatching(`user\.[a%=3D2-5.]{1,9}`), 0, 3, rapid.ID).Draw(t, "attributes")
		for _, key := range keys {
			h.xattrs = append(h.xattrs, record{key, string(rapid.SliceOf(rapid.Byte()).Draw(t, "value"))})
		}
		got, err := tar.NewReader(bytes.NewReader(h.append(nil))).Next()
		if err != nil {
			t.Fatal(err)
		}
		wantName := h.name
		if h.kind == typeDir {
			wantName += "/"
		}
		mode, _ := fileMode(unixMode(h.mode))
		if got.Name != wantName || got.Linkname != h.link || got.Typeflag != h.kind || got.Size != h.size ||
			got.Uid != h.uid || got.Gid != h.gid || got.Uname != h.user || !got.ModTime.Equal(h.mtime) ||
			got.FileInfo().Mode() != h.mode || mode != h.mode {
			t.Fatalf("\ngot  %+v\nwant %+v", got, h)
		}
		if (h.kind == typeChar || h.kind == typeBlock) && (got.Devmajor != h.major || got.Devminor != h.minor) {
			t.Fatalf("device %d, %d", got.Devmajor, got.Devminor)
		}
		for _, x := range h.xattrs {
			key := "SCHILY.xattr." + strings.NewReplacer("%", "%25", "=", "%3D").Replace(x.key)
			if got.PAXRecords[key] != x.value {
				t.Fatalf("%q is %q, want %q", key, got.PAXRecords[key], x.value)
			}
		}
	})
}

// archive/tar reads the files whose data and holes newSparse lays out.
func TestSparse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 20_000).Draw(t, "size")
		want := make([]byte, size)
		var found []extent
		for off := int64(0); off < size; {
			off += rapid.Int64Range(0, 3000).Draw(t, "hole")
			e := extent{off, rapid.Int64Range(1, 3000).Draw(t, "data")}
			off += e.size
			found = append(found, e)
			for i := e.off; i < min(off, size); i++ {
				want[i] = byte(1 + i%255)
			}
		}
		s := newSparse(size, found)
		if s == nil {
			return
		}
		h := &header{kind: typeRegular, name: anyName(t, "name"), size: s.stored(), mtime: time.Unix(0, 0), sparse: s}
		b := h.append(nil)
		for _, e := range s.extent {
			b = append(b, want[e.off:e.off+e.size]...)
		}
		r := tar.NewReader(bytes.NewReader(pad(b)))
		got, err := r.Next()
		if err != nil || got.Name != h.name || got.Size != size {
			t.Fatalf("%+v, %v", got, err)
		}
		content, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(content, want) {
			t.Fatalf("content differs, %v", err)
		}
	})
}

// A file in more pieces than a map can have keeps its data, and some of its
// holes.
func TestSparseTooManyExtents(t *testing.T) {
	var found []extent
	const n = 2 * maxExtents
	for i := range int64(n) {
		found = append(found, extent{1<<62 + i*8192, 4096})
	}
	s := newSparse(1<<62+n*8192, found)
	h := &header{kind: typeRegular, name: "file", size: s.stored(), mtime: time.Unix(0, 0), sparse: s}
	got, err := tar.NewReader(bytes.NewReader(h.append(nil))).Next()
	if err != nil || got.Size != s.size {
		t.Errorf("%v, %v", got, err)
	}
	last := s.extent[len(s.extent)-1]
	if len(s.extent) != maxExtents || last.off+last.size != found[n-1].off+4096 {
		t.Errorf("%d extents, the last %v", len(s.extent), last)
	}
}

func TestTableRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) string { return anyName(t, "name") }), 1, 20, rapid.ID).Draw(t, "names")
		slices.SortFunc(names, compareNames)
		var want []Entry
		at := place{packed: 1}
		for _, name := range names {
			e := Entry{Name: name, Mode: anyMode(t), ModTime: anyTime(t), UID: rapid.IntRange(0, 1<<32-1).Draw(t, "uid")}
			e.Size = rapid.Int64Min(0).Draw(t, "size")
			if e.Mode.IsRegular() {
				e.SHA256 = strings.Repeat("0a", 32)
			}
			if rapid.Bool().Draw(t, "linked") {
				e.Link = anyName(t, "link")
			}
			at.frame += rapid.Int64Range(0, 1<<40).Draw(t, "frame")
			at.skip = rapid.Int64Range(0, frameSize-1).Draw(t, "skip")
			e.at = at
			want = append(want, e)
		}
		got, err := decodeTable(encodeTable(want), 1<<62)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%v\ngot  %+v\nwant %+v", err, got, want)
		}
		rows := []row{{first: names[0], off: 12, size: 13}, {first: names[0] + "x", off: 30, size: 5, sum: [32]byte{1}}}
		read, n, err := decodeIndex(encodeIndex(rows, 1025), 100)
		if err != nil || n != 1025 || !slices.Equal(read, rows) {
			t.Fatalf("%v\ngot  %+v %d\nwant %+v", err, read, n, rows)
		}
	})
}

// The order of names is that of their parts.
func TestNameOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyName(t, "a"), anyName(t, "b")
		if got, want := compareNames(a, b), slices.Compare(strings.Split(a, "/"), strings.Split(b, "/")); got != want {
			t.Fatalf("%q and %q: %d, want %d", a, b, got, want)
		}
	})
}

func TestTableRefuses(t *testing.T) {
	good := []Entry{{Name: "a", Mode: fs.ModeDir, at: place{packed: 1}}, {Name: "a/b", SHA256: strings.Repeat("00", 32), at: place{frame: 5, packed: 1}}}
	if _, err := decodeTable(encodeTable(good), 6); err != nil {
		t.Fatal(err)
	}
	bad := func(what string, change func(es []Entry)) {
		es := slices.Clone(good)
		change(es)
		if _, err := decodeTable(encodeTable(es), 6); !errors.Is(err, core.ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, name := range []string{"", "/a", "a/", "..", "a/../b", "a//b", "./a", "a\x00", strings.Repeat("x", maxName+1)} {
		bad(name, func(es []Entry) { es[0].Name = name })
		bad("link to "+name, func(es []Entry) { es[1].Link = name + "\x00" })
	}
	bad("order", func(es []Entry) { es[0].Name = "a/b/c" })
	bad("twice", func(es []Entry) { es[0].Name = "a/b" })
	bad("type", func(es []Entry) { es[0].Mode = fs.ModeSocket })
	bad("past the end", func(es []Entry) { es[1].at.frame = 7 })
	bad("longer than the rest", func(es []Entry) { es[1].at.packed = 2 })
	bad("skip", func(es []Entry) { es[1].at.skip = frameSize + 1 })
	if _, err := decodeTable([]byte("offsite table 2\n"), 6); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("a newer version: %v", err)
	}
	if _, err := decodeTable(encodeTable(slices.Repeat(good, tableEntries)), 6); !errors.Is(err, core.ErrDamaged) {
		t.Errorf("too many entries: %v", err)
	}
	if _, _, err := decodeIndex(encodeIndex([]row{{first: "a", off: 5, size: 5}}, 1), 9); !errors.Is(err, core.ErrDamaged) {
		t.Errorf("a table past the end: %v", err)
	}
	if _, _, err := decodeIndex(encodeIndex([]row{{first: "a", size: 5}}, 1025), 9); !errors.Is(err, core.ErrDamaged) {
		t.Errorf("more entries than tables hold: %v", err)
	}
}

// A frame that blows up when it is decompressed is refused before it takes memory.
func TestTableBomb(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	fw := &frameWriter{enc: enc}
	bomb := fw.skippable(make([]byte, 80<<20))
	if _, err := unwrap(bomb, maxTable); len(bomb) > 100_000 || !errors.Is(err, core.ErrDamaged) {
		t.Errorf("%d bytes: %v", len(bomb), err)
	}
}

func FuzzTable(f *testing.F) {
	f.Add(encodeTable([]Entry{{Name: "a", Mode: fs.ModeDir}, {Name: "a/b", SHA256: strings.Repeat("00", 32), at: place{3, 4, 5}}}))
	f.Add([]byte(tableSignature + "\x01\x00\x01a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := decodeTable(b, 1000)
		if err != nil {
			if core.KindOf(err) == "" {
				t.Errorf("no kind: %v", err)
			}
			return
		}
		again, err := decodeTable(encodeTable(entries), 1000)
		if err != nil || !slices.Equal(again, entries) {
			t.Errorf("%v\n%+v\n%+v", err, entries, again)
		}
	})
}

func FuzzIndex(f *testing.F) {
	f.Add(encodeIndex([]row{{first: "a", size: 5}, {first: "b", off: 9, size: 1}}, 1030))
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, n, err := decodeIndex(b, 1000)
		if err != nil {
			if core.KindOf(err) == "" {
				t.Errorf("no kind: %v", err)
			}
			return
		}
		again, m, err := decodeIndex(encodeIndex(rows, n), 1000)
		if err != nil || m != n || !slices.Equal(again, rows) {
			t.Errorf("%v\n%+v\n%+v", err, rows, again)
		}
	})
}

// FuzzFrame reads the frame of a table or index that is anything.
func FuzzFrame(f *testing.F) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add((&frameWriter{enc: enc}).skippable([]byte(tableSignature)))
	f.Fuzz(func(t *testing.T, b []byte) {
		content, err := unwrap(b, 1<<20)
		if err == nil && len(content) > 1<<20 || err != nil && !errors.Is(err, core.ErrDamaged) {
			t.Errorf("%d bytes, %v", len(content), err)
		}
	})
}

// A directory that is replaced between two looks is not entered.
func TestEnterSwapped(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := errors.Join(os.Mkdir(dir+"/d", 0o755), os.Mkdir(dir+"/e", 0o755), os.WriteFile(outside+"/secret", nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	folder := newFolder(r, dir, "")
	defer folder.release()
	info, err := r.Lstat("d")
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"e", outside} {
		if err := errors.Join(os.RemoveAll(dir+"/d"), os.Symlink(target, dir+"/d")); err != nil {
			t.Fatal(err)
		}
		m := mark{name: "d", dir: folder, base: "d", info: info}
		names, err := m.enter()
		if len(names) > 0 || err == nil {
			t.Errorf("entered a link to %s: %q", target, names)
		}
		if m.self != nil {
			m.self.release()
		}
	}
}

// Attributes that archive/tar could not read back are reported and left out.
func TestAttributesTooLarge(t *testing.T) {
	it := &item{mark: mark{told: "/file"}}
	var xs []record
	for i := range 30 {
		xs = append(xs, record{fmt.Sprintf("user.%d", i), strings.Repeat("v", 60_000)})
	}
	it.attributes(xs, nil)
	if len(it.odds) != 1 || it.odds[0].What != attributes || !it.odds[0].Lost || it.odds[0].Path != "/file" {
		t.Errorf("odd: %v", it.odds)
	}
	it.header.kind, it.header.name, it.header.link = typeSymlink, strings.Repeat("n/", 2000)+"n", strings.Repeat("l/", 2000)
	h, err := tar.NewReader(bytes.NewReader(it.header.append(nil))).Next()
	if err != nil || len(h.PAXRecords) < 16 {
		t.Errorf("%d records, %v", len(h.PAXRecords), err)
	}
}
