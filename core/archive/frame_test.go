package archive_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"testing"

	seekable "github.com/SaveTheRbtz/zstd-seekable-format-go/pkg"
	"github.com/klauspost/compress/zstd"
	"github.com/offsite-backup/offsite/core/archive"
)

// Other tools that know the seekable format read our archives anywhere.
func TestSeekable(t *testing.T) {
	dir := shm(t)
	someTree(t, dir, 3000)
	p := pack(t, archive.Options{Paths: []string{dir}})
	dec, err := zstd.NewReader(nil)
	must(t, err)
	defer dec.Close()
	tar, err := dec.DecodeAll(p.bytes, nil)
	must(t, err)
	r, err := seekable.NewReader(bytes.NewReader(p.bytes), dec)
	must(t, err)
	if end, err := r.Seek(0, io.SeekEnd); err != nil || end != int64(len(tar)) {
		t.Fatalf("size %d, %v; the tar stream has %d", end, err, len(tar))
	}
	chance := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		off := chance.Int64N(int64(len(tar)))
		b := make([]byte, min(int64(chance.IntN(3<<20)), int64(len(tar))-off))
		if _, err := r.ReadAt(b, off); err != nil || !bytes.Equal(b, tar[off:off+int64(len(b))]) {
			t.Fatalf("%d bytes at %d: %v", len(b), off, err)
		}
	}
}

// frames takes the zstd stream apart: where each frame begins, and its content.
func frames(t testing.TB, b []byte) (offs []int, contents [][]byte) {
	t.Helper()
	dec, err := zstd.NewReader(nil)
	must(t, err)
	defer dec.Close()
	table := len(b) - 9
	n := int(binary.LittleEndian.Uint32(b[table:]))
	table -= 8 * n
	off := 0
	for range n {
		size := int(binary.LittleEndian.Uint32(b[table:]))
		table += 8
		content, err := dec.DecodeAll(b[off:off+size], nil)
		must(t, err)
		offs, contents = append(offs, off), append(contents, content)
		off += size
	}
	return offs, contents
}

func TestFrames(t *testing.T) {
	dir := shm(t)
	someTree(t, dir, 3000)
	p := pack(t, archive.Options{Paths: []string{dir}})
	offs, contents := frames(t, p.bytes)
	large, tables := false, 0
	for i, c := range contents {
		if len(c) > 1<<20 {
			t.Errorf("frame %d has %d bytes", i, len(c))
		}
		if len(c) == 0 {
			tables++
			if binary.LittleEndian.Uint32(p.bytes[offs[i]:]) != 0x184D2A5B {
				t.Errorf("frame %d is empty and no table", i)
			}
		}
		large = large || bytes.Contains(c[:min(2000, len(c))], []byte("/3/large\x00"))
	}
	if !large {
		t.Error("the file of more than 1 MiB begins no frame")
	}
	if want := int(p.stats.Entries+1023)/1024 + 1; tables != want {
		t.Errorf("%d tables and index, want %d", tables, want)
	}
	if last := offs[len(offs)-1]; int64(last) != p.stats.TOC.Offset {
		t.Errorf("the last frame before the seek table is at %d, the index at %d", last, p.stats.TOC.Offset)
	}
	tool(t, "zstd", "tar")
	p.run(t, "/", "zstd -tq && true")
	p.run(t, "/", "cat > "+dir+"/a.tar.zst && tar --zstd -tf "+dir+"/a.tar.zst")
}
