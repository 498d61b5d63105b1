package archive

import (
	"archive/tar"
	"bytes"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/core"
)

func TestExtractHostile(t *testing.T) {
	long := strings.Repeat("a/", 20_000)
	tests := []struct {
		name  string
		tar   *rawTar
		kind  core.ErrorKind
		words string
	}{
		{"dot dot", new(rawTar).file("../canary", "x"), core.ErrDamaged, `"../canary" has ".."`},
		{"dot dot in the middle", new(rawTar).file("a/../../canary", "x"), core.ErrDamaged, `has ".."`},
		{"dot dot at the end", new(rawTar).dir("a/.."), core.ErrDamaged, `has ".."`},
		{"dot dot inside", new(rawTar).file("a/../b", "x"), core.ErrDamaged, `has ".."`},
		{"dot dot by extended name", new(rawTar).add("x", tar.TypeReg, "", nil, map[string]string{"path": "../canary"}), core.ErrDamaged, `has ".."`},
		{"dot dot by sparse name", new(rawTar).sparseFile("../canary", "1", "1\n0\n1\n", []byte("x")), core.ErrDamaged, `has ".."`},
		{"absolute", new(rawTar).file("/etc/canary", "x"), core.ErrDamaged, "absolute"},
		{"absolute directory", new(rawTar).dir("/"), core.ErrDamaged, "absolute"},
		{"no name", new(rawTar).file("", "x"), core.ErrDamaged, "no name"},
		{"zero byte", new(rawTar).add("x", tar.TypeReg, "", nil, map[string]string{"path": "a\x00b"}), core.ErrDamaged, "no sound header"},
		{"zero byte by sparse name", new(rawTar).sparseFile("a\x00b", "1", "1\n0\n1\n", []byte("x")), core.ErrDamaged, "zero byte"},
		{"name too long", new(rawTar).add("x", tar.TypeReg, "", nil, map[string]string{"path": long}), core.ErrDamaged, "40000 bytes"},
		{"root as a file", new(rawTar).file(".", "x"), core.ErrDamaged, "directory's name"},
		{"file with a slash", new(rawTar).file("a/", "x"), core.ErrDamaged, "directory's name"},

		{"write through a link", new(rawTar).soft("a", "../outside").file("a/canary", "x"), core.ErrDamaged, `goes through "a"`},
		{"write through an absolute link", new(rawTar).soft("a", "/").file("a/canary", "x"), core.ErrDamaged, `goes through "a"`},
		{"write through a link inside", new(rawTar).dir("b").soft("a", "b").file("a/x", "x"), core.ErrDamaged, `goes through "a"`},
		{"write through links in a row", new(rawTar).soft("a", ".").soft("b", "a/..").file("b/canary", "x"), core.ErrDamaged, `goes through "b"`},
		{"write through a deep link", new(rawTar).soft("d/a", "../../outside").file("d/a/c/canary", "x"), core.ErrDamaged, `goes through "d/a"`},
		{"directory through a link", new(rawTar).soft("a", "../outside").dir("a/x"), core.ErrDamaged, `goes through "a"`},
		{"directory over a link", new(rawTar).soft("a", "../outside").dir("a"), core.ErrDamaged, `"a" is there twice`},
		{"link over a directory", new(rawTar).dir("a").soft("a", "../outside").file("a/canary", "x"), core.ErrDamaged, `"a" is there twice`},
		{"file over a link", new(rawTar).soft("a", "../canary").file("a", "x"), core.ErrDamaged, `"a" is there twice`},
		{"large file over a link", new(rawTar).soft("a", "../canary").file("a", strings.Repeat("x", 2<<20)), core.ErrDamaged, `"a" is there twice`},
		{"sparse file over a link", new(rawTar).soft("a", "../canary").sparseFile("a", "1", "1\n0\n1\n", []byte("x")), core.ErrDamaged, `"a" is there twice`},
		{"below a file", new(rawTar).file("a", strings.Repeat("x", 2<<20)).file("a/b", "x"), core.ErrDamaged, `goes through "a"`},
		{"fifo over a link", new(rawTar).soft("a", "../canary").add("a", tar.TypeFifo, "", nil, nil), core.ErrDamaged, `"a" is there twice`},

		{"hard link outside", new(rawTar).hard("a", "../canary"), core.ErrDamaged, "leads outside"},
		{"hard link to absolute", new(rawTar).hard("a", "/etc/passwd"), core.ErrDamaged, "leads outside"},
		{"hard link through a link", new(rawTar).soft("s", "../outside").hard("a", "s/canary"), core.ErrDamaged, "through \"s\""},
		{"hard link to a directory", new(rawTar).dir("d").hard("a", "d"), core.ErrDamaged, "to a directory"},
		{"hard link to the root", new(rawTar).hard("a", "."), core.ErrDamaged, "to the root"},
		{"hard link to itself", new(rawTar).hard("a", "./a"), core.ErrDamaged, "to itself"},
		{"hard link to nothing", new(rawTar).hard("a", ""), core.ErrDamaged, "leads outside"},
		{"file over a hard link to a link", new(rawTar).soft("s", "../canary").hard("a", "s").file("a", "x"), core.ErrDamaged, `"a" is there twice`},
		{"write through a hard link to a link", new(rawTar).soft("s", "../outside").hard("a", "s").file("a/canary", "x"), core.ErrDamaged, `goes through "a"`},

		{"file twice", new(rawTar).file("a", "1").file("a", "2"), core.ErrDamaged, `"a" is there twice`},
		{"file twice, other spelling", new(rawTar).file("d/a", "1").file("./d//./a", "2"), core.ErrDamaged, `is there twice`},
		{"link twice", new(rawTar).soft("a", "b").soft("a", "c"), core.ErrDamaged, `"a" is there twice`},
		{"hard link twice", new(rawTar).file("b", "").hard("a", "b").hard("a", "b"), core.ErrDamaged, `"a" is there twice`},
		{"file over a directory", new(rawTar).dir("a").file("a", "2"), core.ErrDamaged, `"a" is there twice`},
		{"file over a parent", new(rawTar).file("a/b", "2").file("a", "2"), core.ErrDamaged, `"a" is there twice`},
		{"link to nothing", new(rawTar).soft("a", ""), core.ErrDamaged, "symbolic link to nothing"},

		{"larger than everything", new(rawTar).block("a", tar.TypeReg, "", 1<<60), core.ErrDamaged, "cut short"},
		{"size to the brim", new(rawTar).block("a", tar.TypeReg, "", math.MaxInt64), core.ErrDamaged, "cut short"},
		{"headers without end", endless(), core.ErrDamaged, "too large"},
		{"header of 1 GiB", new(rawTar).block("a", 'x', "", 1<<30), core.ErrDamaged, "too large"},
		{"header with no size", rawBlock(func(b []byte) { b[156] = 'x'; copy(b[124:136], "zzz") }), core.ErrDamaged, "no header"},
		{"checksum", rawBlock(func(b []byte) { b[0] = 'b' }), core.ErrDamaged, "no sound header"},
		{"noise", rawBlock(func(b []byte) { copy(b, strings.Repeat("noise", 100)) }), core.ErrDamaged, "no sound header"},
		{"records", new(rawTar).block("pax", 'x', "", 5).body([]byte("hello")).file("a", ""), core.ErrDamaged, "no sound header"},
		{"half an end", new(rawTar).file("a", "").body(make([]byte, 512)).file("b", ""), core.ErrDamaged, "half a mark"},
		{"behind the end", new(rawTar).file("a", "").body(make([]byte, 1024)).file("b", ""), core.ErrDamaged, "goes on"},

		{"old sparse", new(rawTar).block("a", tar.TypeGNUSparse, "", 0), core.ErrUnsupported, "old GNU format"},
		{"sparse 0.1", new(rawTar).add("a", tar.TypeReg, "", nil, map[string]string{"GNU.sparse.map": "0,1", "GNU.sparse.numblocks": "1"}), core.ErrUnsupported, "another format than 1.0"},
		{"sparse without size", new(rawTar).sparseFile("a", "", "0\n", nil), core.ErrDamaged, "has no size"},
		{"sparse of negative size", new(rawTar).sparseFile("a", "-1", "0\n", nil), core.ErrDamaged, "has no size"},
		{"sparse without map", new(rawTar).sparseFile("a", "1", "", nil), core.ErrDamaged, "shorter"},
		{"sparse, not numbers", new(rawTar).sparseFile("a", "1", "1\n-5\n1\n", []byte("x")), core.ErrDamaged, "not made of numbers"},
		{"sparse, no digits", new(rawTar).sparseFile("a", "1", "1\n\n1\n", []byte("x")), core.ErrDamaged, "not made of numbers"},
		{"sparse, number too large", new(rawTar).sparseFile("a", "1", "1\n99999999999999999999\n1\n", []byte("x")), core.ErrDamaged, "not made of numbers"},
		{"sparse, count too large", new(rawTar).sparseFile("a", "1", "922337203685477580\n0\n1\n", []byte("x")), core.ErrDamaged, "too many"},
		{"sparse, count without pieces", new(rawTar).sparseFile("a", "1", "1000000\n", nil), core.ErrDamaged, "not made of numbers"},
		{"sparse, overlap", new(rawTar).sparseFile("a", "20", "2\n0\n10\n5\n10\n", make([]byte, 20)), core.ErrDamaged, "overlap"},
		{"sparse, out of order", new(rawTar).sparseFile("a", "20", "2\n10\n5\n0\n5\n", make([]byte, 10)), core.ErrDamaged, "overlap"},
		{"sparse, behind the end", new(rawTar).sparseFile("a", "20", "1\n15\n10\n", make([]byte, 10)), core.ErrDamaged, "behind its end"},
		{"sparse, offset behind the end", new(rawTar).sparseFile("a", "20", "1\n9223372036854775800\n10\n", make([]byte, 10)), core.ErrDamaged, ""},
		{"sparse, more data", new(rawTar).sparseFile("a", "20", "1\n0\n10\n", make([]byte, 600)), core.ErrDamaged, "does not fit"},
		{"sparse, less data", new(rawTar).sparseFile("a", "2000", "1\n0\n1000\n", make([]byte, 10)), core.ErrDamaged, "does not fit"},
	}
	for _, test := range tests {
		for name, o := range map[string]ExtractOptions{
			"":                     {},
			" with everything":     {Owners: true, Devices: true, SetID: true, Overwrite: true},
			" by one, not empty":   {Workers: 1, Overwrite: true},
			" not empty, no force": {},
		} {
			t.Run(test.name+name, func(t *testing.T) {
				p := newPlace(t)
				if strings.Contains(name, "not empty") {
					must(t, os.WriteFile(p.path("there"), nil, 0o600))
				}
				_, _, err := p.extract(t, bytes.NewReader(test.tar.end()), o)
				wantErr(t, err, test.kind, test.words)
				p.untouched(t)
			})
		}
	}
}

// endless has more headers for one entry than anybody needs.
func endless() *rawTar {
	r := new(rawTar)
	for range 10 {
		r.block("a", tar.TypeGNULongName, "", 1<<20).body(bytes.Repeat([]byte("a"), 1<<20))
	}
	return r.file("a", "")
}

// rawBlock is one header, changed.
func rawBlock(change func([]byte)) *rawTar {
	r := new(rawTar).file("a", "")
	change(r.Bytes())
	return r
}
