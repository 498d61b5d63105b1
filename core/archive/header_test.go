package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

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
