package archive_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/offsite-backup/offsite/core/archive"
)

// A packed is an archive in memory that counts what is read of it.
type packed struct {
	bytes []byte
	stats archive.Stats
	odd   []archive.Oddity
	asked atomic.Int64 // ranges
	read  atomic.Int64 // bytes
}

// Range gives a range, and an error for one that is not all there.
func (p *packed) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	p.asked.Add(1)
	if off < 0 || n < 0 || off+n > int64(len(p.bytes)) {
		return nil, fmt.Errorf("range %d+%d of %d", off, n, len(p.bytes))
	}
	return io.NopCloser(&counter{bytes.NewReader(p.bytes[off : off+n]), &p.read}), nil
}

type counter struct {
	r io.Reader
	n *atomic.Int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// pack packs into memory and fails the test where that fails.
func pack(t testing.TB, o archive.Options) *packed {
	t.Helper()
	var p packed
	var b bytes.Buffer
	o.Report = func(odd archive.Oddity) { p.odd = append(p.odd, odd) }
	var err error
	if p.stats, err = archive.Pack(t.Context(), &b, o); err != nil {
		t.Fatal(err)
	}
	p.bytes = b.Bytes()
	return &p
}

// open opens the table of contents.
func (p *packed) open(t testing.TB) *archive.Reader {
	t.Helper()
	r, err := archive.Open(t.Context(), p, p.stats.TOC)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// list is the whole table of contents.
func (p *packed) list(t testing.TB) (all []archive.Entry) {
	t.Helper()
	for e, err := range p.open(t).List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// tool finds a program that these tests compare with. A machine that is meant to
// run all tests has them.
func tool(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is not installed", name)
			}
			t.Skipf("%s is not installed: nothing to compare with", name)
		}
	}
}

// run runs a shell script with the archive as its input. It must be silent on
// standard error.
func (p *packed) run(t testing.TB, dir, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(p.bytes)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Fatalf("%s: %v\n%s", script, err, errs.String())
	}
	return out.String()
}

const untar = `zstd -dc | tar -x --warning=no-timestamp --xattrs --xattrs-include='*' --same-permissions --same-owner`

// unpack restores the archive with nothing of ours, and returns the directory.
func (p *packed) unpack(t testing.TB) string {
	t.Helper()
	tool(t, "zstd", "tar")
	dir := t.TempDir()
	p.run(t, dir, untar)
	return dir
}

// write makes a file and the directories above it.
func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func names(es []archive.Entry, below string) (ns []string) {
	for _, e := range es {
		if rest, ok := strings.CutPrefix("/"+e.Name, below+"/"); ok {
			ns = append(ns, rest)
		}
	}
	return ns
}

func equal(t testing.TB, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestPackSmoke(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a/b", "hello")
	write(t, dir+"/a-b", "x")
	write(t, dir+"/big", strings.Repeat("0123456789", 500_000))
	p := pack(t, archive.Options{Paths: []string{dir}})
	equal(t, names(p.list(t), dir), []string{"a", "a/b", "a-b", "big"})
	r := p.open(t)
	for _, n := range []string{"/a/b", "/big"} {
		e, err := r.Find(t.Context(), dir+n)
		must(t, err)
		c, err := r.Open(t.Context(), e)
		must(t, err)
		b, err := io.ReadAll(c)
		must(t, err)
		want, _ := os.ReadFile(dir + n)
		if !bytes.Equal(b, want) {
			t.Errorf("%s differs", n)
		}
		must(t, c.Close())
	}
	out := p.unpack(t)
	if b, err := exec.Command("diff", "-r", dir, out+dir).CombinedOutput(); err != nil {
		t.Errorf("%s", b)
	}
}

// content reads a file of an archive.
func content(t testing.TB, r *archive.Reader, e archive.Entry) string {
	t.Helper()
	c, err := r.Open(t.Context(), e)
	must(t, err)
	b, err := io.ReadAll(c)
	must(t, err)
	must(t, c.Close())
	return string(b)
}

// shm is a directory in memory where there is one: for many files.
func shm(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "offsite-archive-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

// Many files: memory stays flat.
func TestPackMemory(t *testing.T) {
	const dirs, files = 25, 2010
	dir, named := shm(t), map[string]string{}
	for d := range dirs {
		named[fmt.Sprintf("many/%02d", d)] = dir
	}
	for f := range files {
		write(t, fmt.Sprintf("%s/%04d", dir, f), fmt.Sprint("file ", f))
	}
	most, n := uint64(0), 0
	stats, err := archive.Pack(t.Context(), writer(func(b []byte) (int, error) {
		if n++; n%10 == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse+m.StackInuse)
		}
		return len(b), nil
	}), archive.Options{Dirs: named, Workers: 2})
	must(t, err)
	if most > 80<<20 {
		t.Errorf("packing took %d MiB", most>>20)
	}
	if want := int64(dirs*files + dirs); stats.Entries != want {
		t.Errorf("%d entries, want %d", stats.Entries, want)
	}
}
