package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/archive"
)

// someTree is a tree with enough in it for several tables and frames.
func someTree(t testing.TB, dir string, files int) {
	t.Helper()
	chance := rand.New(rand.NewPCG(1, 2))
	for i := range files {
		b := make([]byte, chance.IntN(40))
		for j := range b {
			b[j] = byte(chance.Uint32())
		}
		write(t, fmt.Sprintf("%s/%d/%d/file %d", dir, i%7, i%13, i), fmt.Sprintf("%x", b))
	}
	write(t, dir+"/3/large", strings.Repeat("0123456789abcdef", 200_000))
	write(t, dir+"/5/middle", strings.Repeat("0123456789abcdef", 30_000))
	must(t, os.Link(dir+"/3/large", dir+"/6/same"))
	must(t, os.Symlink("large", dir+"/3/link"))
}

// One file is found and read by its index, one table and its own frame.
func TestReadCounted(t *testing.T) {
	dir := shm(t)
	someTree(t, dir, 3000)
	p := pack(t, archive.Options{Paths: []string{dir}})
	offs, _ := frames(t, p.bytes)
	largest := int64(0)
	for i, off := range offs[1:] {
		largest = max(largest, int64(off-offs[i]))
	}
	r := p.open(t)
	if p.asked.Load() != 1 || p.read.Load() != p.stats.TOC.Size {
		t.Errorf("the index: %d ranges, %d bytes of %d", p.asked.Load(), p.read.Load(), p.stats.TOC.Size)
	}
	before := p.read.Load()
	e, err := r.Find(t.Context(), dir+"/4/5/file 18")
	must(t, err)
	if table := p.read.Load() - before; p.asked.Load() != 2 || table > 80_000 {
		t.Errorf("the table: %d ranges, %d bytes", p.asked.Load()-1, table)
	}
	before = p.read.Load()
	content(t, r, e)
	if data := p.read.Load() - before; p.asked.Load() != 3 || data > 2*largest {
		t.Errorf("the data: %d ranges, %d bytes", p.asked.Load()-2, data)
	}
	p.asked.Store(0)
	for range r.List(t.Context(), dir+"/4/5") {
	}
	if p.asked.Load() > 1 {
		t.Errorf("a list of a part read %d tables", p.asked.Load())
	}
	for range r.List(t.Context(), "") {
		break
	}
	if p.asked.Load() > 2 {
		t.Errorf("a list that was left read %d tables", p.asked.Load())
	}
}

func TestFind(t *testing.T) {
	dir := shm(t)
	someTree(t, dir, 3000)
	p := pack(t, archive.Options{Paths: []string{dir}})
	r := p.open(t)
	for i, e := range p.list(t) {
		if i%50 > 0 {
			continue
		}
		got, err := r.Find(t.Context(), "/"+e.Name+"/")
		if err != nil || got != e {
			t.Fatalf("%q: %v, %v", e.Name, got, err)
		}
	}
	for name, say := range map[string]string{
		"":                         "list what lies below",
		"no such thing":            "whole paths",
		dir + "/3/large/below":     "whole paths",
		dir + "/zzz":               "whole paths",
		strings.Split(dir, "/")[1]: "list what lies below",
	} {
		if _, err := r.Find(t.Context(), name); !errors.Is(err, core.ErrNotFound) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), say) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for range r.List(t.Context(), dir+"/zzz") {
		t.Error("a list of what is not there is not empty")
	}
}

func TestOpen(t *testing.T) {
	dir := shm(t)
	someTree(t, dir, 1100)
	p := pack(t, archive.Options{Paths: []string{dir}})
	r := p.open(t)
	for i, e := range p.list(t) {
		if !e.Mode.IsRegular() || i%20 > 0 && e.Size < 1000 {
			continue
		}
		got := content(t, r, e)
		sum := sha256.Sum256([]byte(got))
		want, err := os.ReadFile("/" + e.Name)
		must(t, err)
		if got != string(want) || hex.EncodeToString(sum[:]) != e.SHA256 || e.Size != int64(len(want)) {
			t.Errorf("%q differs", e.Name)
		}
	}
	for _, name := range []string{"/3", "/3/link"} {
		e, err := r.Find(t.Context(), dir+name)
		must(t, err)
		if _, err := r.Open(t.Context(), e); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"/3/large", "/6/same"} {
		e, err := r.Find(t.Context(), dir+name)
		must(t, err)
		other := e
		other.SHA256 = strings.Repeat("0", 64)
		shorter := e
		shorter.Size--
		for _, wrong := range []archive.Entry{other, shorter} {
			c, err := r.Open(t.Context(), wrong)
			if err == nil {
				_, err = io.Copy(io.Discard, c)
				must(t, c.Close())
			}
			if !errors.Is(err, core.ErrDamaged) {
				t.Errorf("not what the table says: %v", err)
			}
		}
	}
	if _, err := r.Open(t.Context(), archive.Entry{Name: "x"}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("an entry of no archive: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	e, err := r.Find(t.Context(), dir+"/3/large")
	must(t, err)
	c, err := r.Open(ctx, e)
	must(t, err)
	must(t, c.Close())
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, core.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	why := errors.New("enough")
	cancel(why)
	if _, err := r.Open(ctx, e); !errors.Is(err, why) {
		t.Errorf("after the end of ctx: %v", err)
	}
}

// The tar stream from an entry on goes to the end of the archive, and does not
// ask for what is not read.
func TestTar(t *testing.T) {
	dir := shm(t)
	someTree(t, dir, 3000)
	p := pack(t, archive.Options{Paths: []string{dir}})
	r := p.open(t)
	all := p.list(t)
	at := slices.IndexFunc(all, func(e archive.Entry) bool { return strings.HasSuffix(e.Name, "/3/7/file 59") })
	p.asked.Store(0)
	in, err := r.Tar(t.Context(), all[at])
	must(t, err)
	got := tarNames(t, in)
	must(t, in.Close())
	var want []string
	for _, e := range all[at:] {
		want = append(want, e.Name)
	}
	equal(t, got, want)

	before := p.read.Load()
	p.asked.Store(0)
	in, err = r.Tar(t.Context(), all[at])
	must(t, err)
	_, err = io.CopyN(io.Discard, in, 512)
	must(t, errors.Join(err, in.Close()))
	if read := p.read.Load() - before; p.asked.Load() != 1 || read > 1<<20 {
		t.Errorf("the first header: %d ranges, %d bytes", p.asked.Load(), read)
	}
}

// Whatever byte is altered, what is read is right or known to be damaged.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a", "hello")
	write(t, dir+"/b/c", strings.Repeat("world ", 50))
	must(t, os.Link(dir+"/a", dir+"/d"))
	p := pack(t, archive.Options{Paths: []string{dir}})
	whole, err := all(t.Context(), p)
	must(t, err)
	good := slices.Clone(p.bytes)
	chance := rand.New(rand.NewPCG(5, 6))
	found := 0
	for i := range good {
		p.bytes[i] ^= byte(1 + chance.IntN(255))
		got, err := all(t.Context(), p)
		if err != nil && !errors.Is(err, core.ErrDamaged) && !errors.Is(err, core.ErrUnsupported) {
			t.Errorf("byte %d: %v", i, err)
		}
		if err == nil && !slices.Equal(got, whole) {
			t.Errorf("byte %d: %v", i, got)
		}
		if err != nil {
			found++
		}
		p.bytes[i] = good[i]
	}
	if found < int(p.stats.TOC.Size) {
		t.Errorf("found %d of %d", found, len(good))
	}
	for _, toc := range []core.TOC{
		{}, {Offset: -1, Size: 100}, {Offset: 1, Size: 1 << 60}, {Offset: p.stats.TOC.Offset, Size: p.stats.TOC.Size, SHA256: strings.Repeat("0", 64)},
	} {
		if _, err := archive.Open(t.Context(), p, toc); !errors.Is(err, core.ErrDamaged) {
			t.Errorf("%+v: %v", toc, err)
		}
	}
}

// all is everything that a reader can read.
func all(ctx context.Context, p *packed) (got []string, err error) {
	r, err := archive.Open(ctx, p, p.stats.TOC)
	if err != nil {
		return nil, err
	}
	for e, err := range r.List(ctx, "") {
		if err != nil {
			return got, err
		}
		got = append(got, fmt.Sprint(e))
		if !e.Mode.IsRegular() {
			continue
		}
		c, err := r.Open(ctx, e)
		if err != nil {
			return got, err
		}
		b, err := io.ReadAll(c)
		if err = errors.Join(err, c.Close()); err != nil {
			return got, err
		}
		got = append(got, string(b))
	}
	return got, nil
}

// A place that gives less or more than was asked for is found out.
func TestWrongRanges(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a", strings.Repeat("0123456789abcdef", 200_000))
	p := pack(t, archive.Options{Paths: []string{dir}})
	e := p.list(t)[1]
	broken := errors.New("broken")
	for what, wrong := range map[string]func([]byte) io.Reader{
		"half":    func(b []byte) io.Reader { return bytes.NewReader(b[:len(b)/2]) },
		"nothing": func([]byte) io.Reader { return strings.NewReader("") },
		"more":    func(b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b), strings.NewReader("x")) },
		"broken": func(b []byte) io.Reader {
			return io.MultiReader(bytes.NewReader(b[:len(b)/2]), iotest.ErrReader(broken))
		},
		"late": func(b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b), iotest.ErrReader(broken)) },
	} {
		want := error(core.ErrDamaged)
		if what == "broken" || what == "late" {
			want = broken
		}
		if _, err := archive.Open(t.Context(), ranger{p, wrong, 0}, p.stats.TOC); !errors.Is(err, want) {
			t.Errorf("%s, index: %v", what, err)
		}
		r, err := archive.Open(t.Context(), ranger{p, wrong, p.stats.TOC.Offset}, p.stats.TOC)
		must(t, err)
		c, err := r.Open(t.Context(), e)
		if err == nil {
			_, err = io.Copy(io.Discard, c)
			must(t, c.Close())
		}
		if what == "more" || what == "late" {
			want = nil // every byte of the file was there, and proved right
		}
		if !errors.Is(err, want) || want != core.ErrDamaged && errors.Is(err, core.ErrDamaged) {
			t.Errorf("%s, data: %v", what, err)
		}
	}
}

// A ranger gives wrong bytes before an offset, or everywhere.
type ranger struct {
	p     *packed
	wrong func([]byte) io.Reader
	end   int64
}

func (r ranger) Range(_ context.Context, off, n int64) (io.ReadCloser, error) {
	b := r.p.bytes[off : off+n]
	if r.end > 0 && off >= r.end {
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	return io.NopCloser(r.wrong(b)), nil
}

func tarNames(t testing.TB, in io.Reader) (names []string) {
	t.Helper()
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if err == io.EOF {
			return names
		}
		must(t, err)
		names = append(names, strings.TrimSuffix(h.Name, "/"))
	}
}
