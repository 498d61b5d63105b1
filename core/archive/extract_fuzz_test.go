package archive

import (
	"archive/tar"
	"bytes"
	"testing"
)

// Whatever the bytes are, nothing happens outside the target, and what ends well
// did have an end.
func FuzzExtract(f *testing.F) {
	f.Add(new(rawTar).dir("d").file("d/f", "x").hard("d/h", "d/f").soft("s", "d").add("d/p", tar.TypeFifo, "", nil, nil).end(), true, false)
	f.Add(new(rawTar).soft("a", "../outside").file("a/canary", "x").end(), true, true)
	f.Add(new(rawTar).soft("a", "..").hard("b", "a").dir("b/c").end(), false, true)
	f.Add(new(rawTar).file("../canary", "x").end(), false, false)
	f.Add(new(rawTar).file("a", "x").hard("../canary", "a").end(), false, true)
	f.Add(new(rawTar).sparseFile("s", "4096", "1\n512\n10\n", make([]byte, 10)).end(), true, false)
	f.Add(new(rawTar).add("x", '0', "", []byte("x"), map[string]string{"path": "a/../../canary", "SCHILY.xattr.user.a": "b", "mtime": "-1.5"}).end(), false, false)
	f.Add(new(rawTar).block("x", 'L', "", 9).body([]byte("../canary")).file("x", "x").end(), false, false)
	f.Add(new(rawTar).block("x", 'g', "", 18).body([]byte("18 path=../canary\n")).file("x", "x").end(), false, true)
	f.Fuzz(func(t *testing.T, stream []byte, overwrite, there bool) {
		p := newPlace(t)
		if there {
			p.extract(t, bytes.NewReader(new(rawTar).soft("a", "../outside").file("b/c", "").end()), ExtractOptions{})
		}
		_, _, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{Overwrite: overwrite, SetID: true, Workers: 1})
		p.untouched(t)
		if err == nil && !bytes.Contains(stream, make([]byte, 1024)) {
			t.Error("an archive without an end was taken for whole")
		}
	})
}
