package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// sample has an entry of every kind.
func sample() *rawTar {
	r := new(rawTar).dir("d/").file("d/small", "small").file("d/empty", "")
	r.file("d/large", strings.Repeat("0123456789abcdef", (extractSmall+4096)/16))
	r.sparseFile("d/sparse", "100000", "2\n512\n512\n99900\n100\n", bytes.Repeat([]byte("s"), 612))
	r.soft("d/soft", "../../outside").hard("d/hard", "d/small").add("d/fifo", tar.TypeFifo, "", nil, nil)
	r.add("x", tar.TypeReg, "", []byte("long"), map[string]string{"path": "d/" + strings.Repeat("n", 250)})
	return r.dir("d/e/f/")
}

func TestExtractCutShort(t *testing.T) {
	whole := sample().end()
	for n := 0; n < len(whole); n += 512 {
		if len(whole)-n > 20*512 && n > 20*512 && n%(64*512) != 0 {
			continue // inside the large file's content, every 32 KiB
		}
		for _, cut := range []int{n, n + 100} {
			p := newPlace(t)
			_, _, err := p.extract(t, bytes.NewReader(whole[:cut]), ExtractOptions{})
			wantErr(t, err, core.ErrDamaged, "")
			if cut <= len(whole)-1024 {
				wantErr(t, err, core.ErrDamaged, "short")
			}
			for _, name := range []string{"d/large", "d/sparse"} {
				if info, err := os.Lstat(p.path(name)); err == nil && info.Size() < 100_000 {
					t.Errorf("cut at %d: %s is there and not whole", cut, name)
				}
			}
			p.untouched(t)
			if t.Failed() {
				t.Fatalf("cut at %d of %d", cut, len(whole))
			}
		}
	}
}

func TestExtractSample(t *testing.T) {
	for _, workers := range []int{0, 1, 4} {
		p := newPlace(t)
		stats, odd, err := p.extract(t, iotest.OneByteReader(bytes.NewReader(sample().end())), ExtractOptions{Workers: workers})
		must(t, err)
		if len(odd) > 0 {
			t.Error(odd)
		}
		if want := (ExtractStats{Entries: 10, ContentSize: 9 + extractSmall + 4096 + 100_000}); stats != want {
			t.Errorf("%+v, want %+v", stats, want)
		}
		sparse := make([]byte, 100_000)
		copy(sparse[512:], bytes.Repeat([]byte("s"), 512))
		copy(sparse[99_900:], bytes.Repeat([]byte("s"), 100))
		p.holds(t, "d/", "d/small=small", "d/empty=", "d/hard=small", "d/soft>../../outside", "d/fifo p---------",
			"d/large="+strings.Repeat("0123456789abcdef", (extractSmall+4096)/16), "d/sparse="+string(sparse),
			"d/"+strings.Repeat("n", 250)+"=long", "d/e/", "d/e/f/")
		p.untouched(t)
	}
}

func TestExtractOverwrite(t *testing.T) {
	stream := new(rawTar).dir("d").file("d/f", "new").soft("l", "new").file("big", strings.Repeat("n", 2<<20)).hard("h", "d/f").end()
	fill := func(t *testing.T) *targetPlace {
		p := newPlace(t)
		must(t, os.Mkdir(p.path("d"), 0o700))
		must(t, os.WriteFile(p.path("d/f"), []byte("old"), 0o600))
		must(t, os.Link(p.path("d/f"), p.path("kept")))
		must(t, os.Symlink("../canary", p.path("l")))
		must(t, os.Symlink("../canary", p.path("big")))
		must(t, os.WriteFile(p.path("h"), []byte("old"), 0o600))
		return p
	}
	t.Run("not wanted", func(t *testing.T) {
		p := fill(t)
		_, _, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{})
		wantErr(t, err, core.ErrExists, "is there already")
		p.holds(t, "d/", "d/f=old", "kept=old", "l>../canary", "big>../canary", "h=old")
		p.untouched(t)
	})
	t.Run("wanted", func(t *testing.T) {
		p := fill(t)
		_, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{Overwrite: true})
		must(t, err)
		if len(odd) > 0 {
			t.Error(odd)
		}
		p.holds(t, "d/", "d/f=new", "kept=old", "l>new", "big="+strings.Repeat("n", 2<<20), "h=new")
		same(t, p.path("h"), p.path("d/f"))
		p.untouched(t)
	})
	t.Run("a directory in the way", func(t *testing.T) {
		p := newPlace(t)
		must(t, os.MkdirAll(p.path("l/x"), 0o700))
		stats, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{Overwrite: true})
		must(t, err)
		if stats.Lost != 1 || !strings.Contains(odd[0], "a directory is in its place") {
			t.Error(odd)
		}
	})
	t.Run("a link in a directory's way", func(t *testing.T) {
		p := newPlace(t)
		must(t, os.Symlink("../outside", p.path("d")))
		_, _, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{Overwrite: true})
		must(t, err)
		p.holds(t, "d/", "d/f=new", "l>new", "big="+strings.Repeat("n", 2<<20), "h=new")
		p.untouched(t)
	})
	t.Run("a link on the way", func(t *testing.T) {
		p := newPlace(t)
		must(t, os.Symlink("../outside", p.path("d")))
		_, _, err := p.extract(t, bytes.NewReader(new(rawTar).file("d/f", "new").end()), ExtractOptions{Overwrite: true})
		wantErr(t, err, core.ErrExists, `"d" is in the way of "d/f"`)
		p.untouched(t)
	})
}

func TestExtractLosses(t *testing.T) {
	big := strings.Repeat("n", 300)
	stream := new(rawTar).
		add("x", tar.TypeReg, "", []byte("lost"), map[string]string{"path": big}).
		add("x", tar.TypeDir, "", nil, map[string]string{"path": big + "d"}).
		add("x", tar.TypeReg, "", []byte("lost"), map[string]string{"path": big + "d/f"}).
		add("x", tar.TypeLink, big, nil, map[string]string{"linkpath": big}).
		add("odd", 'Z', "", []byte("unknown kind"), nil).
		file("kept", "kept").end()
	p := newPlace(t)
	stats, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{})
	must(t, err)
	if stats.Lost != 5 || stats.Odd != 5 || stats.Entries != 1 {
		t.Errorf("%+v %q", stats, odd)
	}
	p.holds(t, "kept=kept")
}

// The largest size that there is: file systems take it or not, and it costs nothing.
func TestExtractLargest(t *testing.T) {
	p := newPlace(t)
	stream := new(rawTar).sparseFile("huge", "9223372036854775807", "1\n0\n1\n", []byte("x")).file("kept", "kept").end()
	stats, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{})
	must(t, err)
	if stats.Lost == 1 && stats.Entries == 1 {
		p.holds(t, "kept=kept")
		return
	}
	if len(odd) != 0 {
		t.Error(odd)
	}
	p.holds(t, "huge of 9223372036854775807 bytes", "kept=kept")
}

func TestExtractDirectoryTwice(t *testing.T) {
	p := newPlace(t)
	stream := new(rawTar).dir("d").file("d/a", "1").blockOf("d", tar.TypeDir, "", 0, 0o750, 0).file("d/b", "2").end()
	stats, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{})
	must(t, err)
	if stats.Odd != 1 || stats.Lost != 0 || !strings.Contains(odd[0], "twice") {
		t.Error(odd)
	}
	p.holds(t, "d/", "d/a=1", "d/b=2")
	if info, err := os.Stat(p.path("d")); err != nil || info.Mode().Perm() != 0o750 {
		t.Error(info.Mode(), err)
	}
}

func TestExtractStreamError(t *testing.T) {
	whole := sample().end()
	for _, at := range []int{0, 700, 5000, len(whole) - 1024, len(whole)} {
		for _, cause := range []error{core.ErrUnavailable, core.ErrChanged} {
			p := newPlace(t)
			r := io.MultiReader(bytes.NewReader(whole[:at]), iotest.ErrReader(core.Errorf(cause.(core.ErrorKind), "%w", io.ErrUnexpectedEOF)))
			_, _, err := p.extract(t, r, ExtractOptions{})
			if !errors.Is(err, cause) {
				t.Errorf("at %d: %v, want %v", at, err, cause)
			}
		}
	}
}

func TestExtractCancel(t *testing.T) {
	stop := errors.New("enough")
	for _, after := range []int{0, 1, 20, 300} {
		ctx, cancel := context.WithCancelCause(t.Context())
		p := newPlace(t)
		root, err := os.OpenRoot(p.target)
		must(t, err)
		// An archive without end: only the context ends it.
		r := &forever{entry: new(rawTar), after: after, then: func() { cancel(stop) }}
		start := time.Now()
		_, err = Extract(ctx, r, root, ExtractOptions{})
		if !errors.Is(err, stop) {
			t.Errorf("after %d entries: %v", after, err)
		}
		if time.Since(start) > 20*time.Second {
			t.Error("took too long")
		}
		must(t, root.Close())
	}
}

// forever is a stream of ever new small files.
type forever struct {
	entry *rawTar
	n     int
	after int
	then  func()
}

func (f *forever) Read(p []byte) (int, error) {
	if f.entry.Len() == 0 {
		if f.n == f.after {
			f.then()
		}
		f.n++
		f.entry.file(strings.Repeat("f", f.n%50+1)+"/"+hex.EncodeToString([]byte(time.Unix(int64(f.n), 0).UTC().String())), "content")
	}
	return f.entry.Read(p)
}
