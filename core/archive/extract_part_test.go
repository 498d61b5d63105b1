package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"os"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/core"
)

func TestExtractBelow(t *testing.T) {
	stream := new(rawTar).dir(".").dir("a/").dir("a/b/").file("a/b/x", "1").file("a/b/y", "2").hard("a/c", "a/b/x").
		dir("ab/").file("ab/z", "3").soft("s", "a").end()
	all := []string{"a/", "a/b/", "a/b/x=1", "a/b/y=2", "a/c=1", "ab/", "ab/z=3", "s>a"}
	tests := []struct {
		name  string
		below string
		want  []string
		err   error
	}{
		{"all", "", all, nil},
		{"root", "/", all, nil},
		{"here", "./", all, nil},
		{"directory", "a", []string{"b/", "b/x=1", "b/y=2", "c=1"}, nil},
		{"as typed", "/a/", []string{"b/", "b/x=1", "b/y=2", "c=1"}, nil},
		{"deep", "a/b", []string{"x=1", "y=2"}, nil},
		{"file", "a/b/y", []string{"y=2"}, nil},
		{"link", "s", []string{"s>a"}, nil},
		{"nothing", "a/n", nil, core.ErrNotFound},
		{"outside", "a/../..", nil, core.ErrInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPlace(t)
			_, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{Below: test.below})
			if !errors.Is(err, test.err) || len(odd) > 0 {
				t.Errorf("error %v, want %v; odd %q", err, test.err, odd)
			}
			p.holds(t, test.want...)
			if info, err := os.Stat(p.path("a/b")); err == nil && (info.Mode().Perm() != 0o755 || info.ModTime().Unix() != 1_700_000_000) {
				t.Errorf("a/b has %v %v", info.Mode(), info.ModTime())
			}
		})
	}
}

// entries yields these, and is what a Reader lists.
func entries(all ...Entry) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func fileOf(name, content string) Entry {
	sum := sha256.Sum256([]byte(content))
	return Entry{Name: name, SHA256: hex.EncodeToString(sum[:])}
}

func TestExtractExpect(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", extractSmall/8)
	sparse := string(append(make([]byte, 3<<20), 's'))
	stream := new(rawTar).dir("d").file("d/a", "content").soft("d/b", "a").hard("d/c", "d/a").file("d/large", large).
		sparseFile("d/s", "3145729", "1\n3145728\n1\n", []byte("s")).file("z", "").Bytes() // and no end
	right := []Entry{{Name: "d"}, fileOf("d/a", "content"), {Name: "d/b", Link: "a"}, fileOf("d/c", "content"), fileOf("d/large", large), fileOf("d/s", sparse)}
	right[3].Link = "d/a"
	t.Run("right", func(t *testing.T) {
		p := newPlace(t)
		stats, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{Expect: entries(right...)})
		must(t, err)
		if want := (ExtractStats{Entries: 6, ContentSize: 7 + int64(len(large)+len(sparse))}); stats != want {
			t.Errorf("%+v, want %+v; %q", stats, want, odd)
		}
		p.holds(t, "d/", "d/a=content", "d/b>a", "d/c=content", "d/large="+large, "d/s="+sparse)
	})
	t.Run("none", func(t *testing.T) {
		p := newPlace(t)
		_, _, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{Expect: entries()})
		must(t, err)
		p.holds(t)
	})
	t.Run("below", func(t *testing.T) {
		p := newPlace(t)
		_, _, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{Below: "d", Expect: entries(right[:3]...)})
		must(t, err)
		p.holds(t, "a=content", "b>a")
	})
	tests := []struct {
		name  string
		at    int
		want  Entry
		words string
	}{
		{"first name", 0, Entry{Name: "e"}, `has "d" where "e" should be`},
		{"later name", 4, fileOf("d/larger", large), `has "d/large" where "d/larger" should be`},
		{"content", 1, fileOf("d/a", "Content"), "SHA-256"},
		{"content of a large file", 4, fileOf("d/large", "content"), "SHA-256"},
		{"content of a sparse file", 5, fileOf("d/s", "s"), "SHA-256"},
		{"symbolic link", 2, Entry{Name: "d/b", Link: "c"}, `link to "a"`},
		{"hard link", 3, Entry{Name: "d/c", Link: "d/b"}, `link to "d/a"`},
		{"link where a file should be", 3, fileOf("d/c", "content"), `link to "d/a"`},
		{"directory where a file should be", 0, fileOf("d", ""), "should be a file"},
		{"file where a directory should be", 1, Entry{Name: "d/a"}, "should be a file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPlace(t)
			want := append(append(append([]Entry{}, right[:test.at]...), test.want), right[test.at+1:]...)
			_, _, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{Expect: entries(want...)})
			wantErr(t, err, core.ErrDamaged, test.words)
			if _, err := os.Lstat(p.path(right[test.at].Name)); test.at > 0 && err == nil {
				t.Error("what is wrong is there")
			}
		})
	}
	t.Run("more than there is", func(t *testing.T) {
		p := newPlace(t)
		one := new(rawTar).dir("d").end()
		_, _, err := p.extract(t, bytes.NewReader(one), ExtractOptions{Expect: entries(right...)})
		wantErr(t, err, core.ErrDamaged, `ends where "d/a" should be`)
	})
	t.Run("an error", func(t *testing.T) {
		p := newPlace(t)
		_, _, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{Expect: func(yield func(Entry, error) bool) {
			_ = yield(right[0], nil) && yield(Entry{}, core.ErrUnavailable)
		}})
		wantErr(t, err, core.ErrUnavailable, "")
		p.holds(t, "d/")
	})
}

func TestExtractHardLinkElsewhere(t *testing.T) {
	first := new(rawTar).file("a/x", "content")
	stream := new(rawTar).dir("a").file("a/x", "content").dir("b").hard("b/1", "a/x").hard("b/2", "a/x").end()
	good := func(context.Context, string) (io.ReadCloser, Entry, error) {
		return io.NopCloser(bytes.NewReader(first.Bytes())), fileOf("a/x", "content"), nil
	}
	t.Run("without content", func(t *testing.T) {
		p := newPlace(t)
		stats, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{Below: "b"})
		must(t, err)
		if stats.Lost != 2 || len(odd) != 2 || !strings.Contains(odd[0], "hard link") {
			t.Error(stats, odd)
		}
		p.holds(t)
	})
	t.Run("with content", func(t *testing.T) {
		p := newPlace(t)
		part := new(rawTar).dir("b").hard("b/1", "a/x").hard("b/2", "a/x").Bytes()
		stats, odd, err := p.extract(t, bytes.NewReader(part), ExtractOptions{Content: good, Expect: entries(
			Entry{Name: "b"}, Entry{Name: "b/1", Link: "a/x"}, Entry{Name: "b/2", Link: "a/x"})})
		must(t, err)
		if stats.Odd != 0 || stats.ContentSize != 7 || stats.Entries != 3 {
			t.Error(stats, odd)
		}
		p.holds(t, "b/", "b/1=content", "b/2=content")
		same(t, p.path("b/1"), p.path("b/2"))
	})
	t.Run("one", func(t *testing.T) {
		p := newPlace(t)
		must(t, os.Mkdir(p.path("a"), 0o700))
		must(t, os.WriteFile(p.path("a/x"), []byte("somebody else's"), 0o600))
		one := new(rawTar).hard("b/1", "a/x").end()
		_, _, err := p.extract(t, bytes.NewReader(one), ExtractOptions{Content: good, Expect: entries(Entry{Name: "b/1", Link: "a/x"})})
		must(t, err)
		p.holds(t, "a/", "a/x=somebody else's", "b/", "b/1=content")
	})
	bad := map[string]struct {
		stream *rawTar
		err    error
		want   error
	}{
		"another entry":   {new(rawTar).file("a/y", "content"), nil, core.ErrDamaged},
		"another content": {new(rawTar).file("a/x", "contenT"), nil, core.ErrDamaged},
		"a link again":    {new(rawTar).hard("a/x", "b/1"), nil, core.ErrDamaged},
		"a directory":     {new(rawTar).dir("a/x"), nil, core.ErrDamaged},
		"nothing":         {new(rawTar).body(make([]byte, 1024)), nil, core.ErrDamaged},
		"cut short":       {new(rawTar), nil, core.ErrDamaged},
		"unreachable":     {nil, core.ErrUnavailable, core.ErrUnavailable},
		"not there":       {nil, core.ErrNotFound, nil},
	}
	for name, test := range bad {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			stats, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{Below: "b", Content: func(context.Context, string) (io.ReadCloser, Entry, error) {
				if test.err != nil {
					return nil, Entry{}, test.err
				}
				_, want, _ := good(t.Context(), "")
				return io.NopCloser(bytes.NewReader(test.stream.Bytes())), want, nil
			}})
			if !errors.Is(err, test.want) || (err == nil) != (stats.Lost == 2) {
				t.Errorf("error %v, want %v; %q", err, test.want, odd)
			}
			p.holds(t)
		})
	}
}

func same(t *testing.T, a, b string) {
	t.Helper()
	one, err := os.Lstat(a)
	must(t, err)
	other, err := os.Lstat(b)
	must(t, err)
	if !os.SameFile(one, other) {
		t.Errorf("%s and %s are not one file", a, b)
	}
}
