package core_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/offsite-backup/offsite/core"
)

func TestNewID(t *testing.T) {
	at := time.Date(2026, 11, 23, 5, 59, 0, 999, time.FixedZone("east", 3600))
	id, err := core.NewID(at, bytes.NewReader(make([]byte, 9)))
	if want := core.ID("20261123T045900Z-aaaaaaaaaaaaa"); id != want || err != nil {
		t.Errorf("NewID = %q, %v; want %q", id, err, want)
	}
	if _, err := core.NewID(at, strings.NewReader("short")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("too little chance: %v", err)
	}
	if _, err := core.NewID(time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), bytes.NewReader(make([]byte, 9))); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a year before 0: %v", err)
	}
}

func TestNewIDSortsByTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func() (time.Time, core.ID) {
			at := time.Unix(rapid.Int64Range(0, 253402300799).Draw(t, "second"), 0)
			chance := rapid.SliceOfN(rapid.Byte(), 9, 9).Draw(t, "chance")
			id, err := core.NewID(at, bytes.NewReader(chance))
			if err != nil {
				t.Fatal(err)
			}
			if parsed, err := core.ParseID(string(id)); parsed != id || err != nil {
				t.Fatalf("ParseID(%q) = %q, %v", id, parsed, err)
			}
			if second, ok := id.Time(); !ok || !second.Equal(at) {
				t.Fatalf("%s is of %v, %v; want %v", id, second, ok, at)
			}
			return at, id
		}
		t1, id1 := draw()
		t2, id2 := draw()
		if !t1.Equal(t2) && t1.Compare(t2) != id1.Compare(id2) {
			t.Fatalf("%v and %v sort as %v, their ids %s and %s as %v", t1, t2, t1.Compare(t2), id1, id2, id1.Compare(id2))
		}
	})
}

func TestIDTime(t *testing.T) {
	for _, id := range []core.ID{"", "a", "20261123T045900Z", "20261123T045900Z-", "20261123T045900Z-mine", "20261323T045900Z-mzxw6ytboi4dk"} {
		if at, ok := id.Time(); ok {
			t.Errorf("%q is of %v", id, at)
		}
	}
}

func TestParseID(t *testing.T) {
	for _, s := range []string{"a", "Z9", "0", "a-b_c", strings.Repeat("x", 128), "20261123T045900Z-mzxw6ytboi4dk"} {
		if id, err := core.ParseID(s); string(id) != s || err != nil {
			t.Errorf("ParseID(%q) = %q, %v", s, id, err)
		}
	}
	hostile := []string{
		"", ".", "..", "../x", "a/b", `a\b`, "/a", "-a", "_a", "a.b", "a.json", "a b", " a", "a\n", "a\x00", "é", "ａ",
		"a:b", "a%2Fb", "a*", "~", "$(id)", "a;b", "\xff", "a\u202eb", strings.Repeat("x", 129), strings.Repeat("x", 1<<20),
	}
	for _, s := range hostile {
		_, err := core.ParseID(s)
		if !errors.Is(err, core.ErrInvalid) || core.KindOf(err) != core.ErrInvalid {
			t.Errorf("ParseID(%.20q): %v", s, err)
			continue
		}
		if text := err.Error(); len(text) > 1000 || strings.ContainsAny(text, "\n\x00\u202e") {
			t.Errorf("ParseID(%.20q) answers what no terminal should get: %.200q", s, text)
		}
	}
}

func TestIDCompareIsTheOrderOfDocuments(t *testing.T) {
	ids := []core.ID{"a", "a-", "a-b", "a0", "a_", "A", "0", "ab", "B", "b", "aA", "a-0"}
	names := make([]string, 0, len(ids))
	for _, id := range ids {
		names = append(names, string(id)+".json")
	}
	slices.Sort(names)
	slices.SortFunc(ids, core.ID.Compare)
	for i, id := range ids {
		if names[i] != string(id)+".json" {
			t.Fatalf("ids sort as %q, documents as %q", ids, names)
		}
	}
	if core.ID("a").Compare("a") != 0 {
		t.Error("an id is not equal to itself")
	}
}
