package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
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

// A ranger counts what is asked for.
type ranger struct {
	b      []byte
	ranges [][2]int64
}

func (r *ranger) Range(_ context.Context, off, n int64) (io.ReadCloser, error) {
	r.ranges = append(r.ranges, [2]int64{off, n})
	return io.NopCloser(bytes.NewReader(r.b[off : off+n])), nil
}

// One file of 400,000 is found and read by the index, one table and its own frame,
// and by no byte more.
func TestManyEntries(t *testing.T) {
	enc, err := newEncoder(1)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	fw := &frameWriter{w: &b, enc: enc}
	const frames, each = 400, 1000
	sum := sha256.Sum256([]byte("content"))
	for i := range frames {
		f := &frame{content: []byte("no tar stream")}
		for j := range each {
			f.begins = append(f.begins, int64(j))
			f.ends = append(f.ends, Entry{Name: fmt.Sprintf("home/u/%03d/file %03d", i, j), Size: 7, SHA256: hex.EncodeToString(sum[:])})
		}
		if i == 321 {
			h := &header{kind: typeRegular, name: f.ends[0].Name, size: 7, mtime: time.Unix(0, 0)}
			f.content = pad(append(h.append(nil), "content"...))
		}
		f.packed = enc.EncodeAll(f.content, nil)
		if err := fw.data(f); err != nil {
			t.Fatal(err)
		}
	}
	toc, err := fw.finish()
	if err != nil || toc.Size > 25_000 {
		t.Fatalf("an index of %d bytes, %v", toc.Size, err)
	}
	in := &ranger{b: b.Bytes()}
	r, err := Open(t.Context(), in, toc)
	if err != nil || r.Len() != frames*each {
		t.Fatalf("%d entries, %v", r.Len(), err)
	}
	e, err := r.Find(t.Context(), "/home/u/321/file 000")
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); string(got) != "content" || err != nil || c.Close() != nil {
		t.Errorf("%q, %v", got, err)
	}
	table := r.rows[321*each/tableEntries]
	want := [][2]int64{{toc.Offset, toc.Size}, {table.off, table.size}, {e.at.frame, e.at.packed}}
	if !slices.Equal(in.ranges, want) {
		t.Errorf("read %v, want %v", in.ranges, want)
	}
	n := 0
	for e, err := range r.List(t.Context(), "") {
		if n++; err != nil || e.Size != 7 {
			t.Fatalf("%v, %v", e, err)
		}
	}
	if n != frames*each || len(in.ranges) != 3+len(r.rows) {
		t.Errorf("lists %d with %d ranges", n, len(in.ranges))
	}
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
