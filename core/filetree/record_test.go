package filetree

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

func FuzzRecord(f *testing.F) {
	good, err := line(object.Part{Index: 0, Offset: 0, Size: 32 << 20, CRC64: 0xae8b14860a799888})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(append(make([]byte, lineSize), good...))
	f.Add(good[:lineSize-1])
	f.Add(bytes.Replace(good, []byte(" 33554432 "), []byte("+33554432 "), 1))
	f.Fuzz(func(t *testing.T, record []byte) {
		parts, err := parseRecord(bytes.NewReader(record))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			text, err := line(p)
			if err != nil {
				t.Fatalf("%+v is no part", p)
			}
			if got := record[p.Index*lineSize:][:lineSize]; !bytes.Equal(got, text) {
				t.Fatalf("%q was read as %q", got, text)
			}
		}
	})
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var record []byte
		var want []object.Part
		for i := range rapid.IntRange(0, 40).Draw(t, "lines") {
			p := object.Part{
				Index:  i,
				Offset: rapid.Int64Range(0, 1e18-1).Draw(t, "offset"),
				Size:   rapid.Int64Range(1, 1e16-1).Draw(t, "size"),
				CRC64:  core.CRC64(rapid.Uint64().Draw(t, "crc")),
			}
			text, err := line(p)
			if err != nil {
				t.Fatal(err)
			}
			switch rapid.IntRange(0, 3).Draw(t, "state") {
			case 0: // torn
				at := rapid.IntRange(0, lineSize-1).Draw(t, "torn at")
				clear(text[at:])
			case 1: // never written
				clear(text)
			default:
				want = append(want, p)
			}
			record = append(record, text...)
		}
		record = append(record, make([]byte, rapid.IntRange(0, lineSize-1).Draw(t, "rest"))...)
		got, err := parseRecord(bytes.NewReader(record))
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d parts of %d, %v", len(got), len(want), err)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%+v, want %+v", got[i], want[i])
			}
		}
	})
}

func TestLineRefusesWhatCannotBe(t *testing.T) {
	for _, p := range []object.Part{
		{Index: -1, Size: 1},
		{Index: 0, Size: 0},
		{Index: 0, Offset: -1, Size: 1},
		{Index: 10_000_000_000, Size: 1},
		{Index: 0, Offset: 1e18, Size: 1},
	} {
		if text, err := line(p); core.KindOf(err) != core.ErrInvalid {
			t.Errorf("%+v became %q, %v", p, text, err)
		}
	}
}

func TestKeys(t *testing.T) {
	const token = "0123456789abcdef"
	for _, test := range []struct {
		key   string
		valid bool
	}{
		{"meta/20261123T045900Z-mzxw6ytboi4dk.json", true},
		{"data/a.tar.zst.age", true},
		{"a", true},
		{"a/b/c", true},
		{".hidden", true},
		{"", false},
		{"/a", false},
		{"a/", false},
		{"a//b", false},
		{"../a", false},
		{"a/..", false},
		{"a/./b", false},
		{".", false},
		{"a b", false},
		{"a\nb", false},
		{"a\x00b", false},
		{"a,b", false},
		{`a\b`, false},
		{"é", false},
		{"tmp", false},
		{"tmp/a", false},
		{"data/tmp", true},
		{"a/" + string(bytes.Repeat([]byte("x"), 300)), false},
	} {
		if got := validKey(test.key); got != test.valid {
			t.Errorf("%.20q: valid is %v", test.key, got)
		}
		if !test.valid {
			continue
		}
		name := tmpName(test.key, token)[len(tmpDir)+1:] + partial
		if key, got, ok := parseTmp(name, partial); !ok || key != test.key || got != token {
			t.Errorf("%q was read as %q %q %v", name, key, got, ok)
		}
	}
	for _, foreign := range []string{"x", ".partial", "a." + token, "a.0123456789ABCDEF.partial", "tmp,a." + token + ".partial", "..,a." + token + ".partial", "a." + token + ".partial~"} {
		if key, _, ok := parseTmp(foreign, partial); ok {
			t.Errorf("%q was taken for an upload of %q", foreign, key)
		}
	}
}
