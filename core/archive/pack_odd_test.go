package archive_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/archive"
)

// meanwhile packs dir, whose file "a" is too large to be read ahead, and calls do
// when its first bytes are written: what comes after them in the walk was not
// looked at by then.
func meanwhile(t *testing.T, dir string, do func()) *packed {
	t.Helper()
	var p packed
	first := func() { do(); do = func() {} }
	var err error
	p.stats, err = archive.Pack(t.Context(), writer(func(b []byte) (int, error) {
		first()
		p.bytes = append(p.bytes, b...)
		return len(b), nil
	}), archive.Options{
		Paths:   []string{dir},
		Workers: 1,
		Report:  func(o archive.Oddity) { p.odd = append(p.odd, o) },
	})
	must(t, err)
	return &p
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// large fills a file with more than all frames hold that are on their way.
func large(t *testing.T, path string) (content string) {
	content = strings.Repeat("0123456789abcdef", 1<<20)
	write(t, path, content)
	return content
}

// oddity checks that there is one.
func (p *packed) oddity(t *testing.T, path, what string, lost bool) {
	t.Helper()
	if len(p.odd) != 1 || p.odd[0].Path != path || p.odd[0].What != what || p.odd[0].Lost != lost {
		t.Errorf("odd: %v, want %s %s, lost %v", p.odd, path, what, lost)
	}
	if p.stats.Odd != 1 || p.stats.Lost > 0 != lost {
		t.Errorf("counted %d odd, %d lost", p.stats.Odd, p.stats.Lost)
	}
}

func TestPackShrinkingFile(t *testing.T) {
	dir := t.TempDir()
	content := large(t, dir+"/a")
	write(t, dir+"/b", "after it")
	p := meanwhile(t, dir, func() { must(t, os.Truncate(dir+"/a", int64(len(content)-1000))) })
	p.oddity(t, dir+"/a", "changed", true)
	out := p.unpack(t)
	got, err := os.ReadFile(out + dir + "/a")
	must(t, err)
	if string(got) != content[:len(content)-1000]+strings.Repeat("\x00", 1000) {
		t.Errorf("%d bytes are not the begin and zeros", len(got))
	}
	e := p.list(t)[1]
	if contentOf(t, p, e.Name) != string(got) {
		t.Error("content and its SHA-256 are not what was written")
	}
	if contentOf(t, p, dir+"/b") != "after it" {
		t.Error("what comes after is damaged")
	}
}

func TestPackGrowingFile(t *testing.T) {
	dir := t.TempDir()
	content := large(t, dir+"/a")
	p := meanwhile(t, dir, func() {
		f, err := os.OpenFile(dir+"/a", os.O_APPEND|os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteString("more")
		must(t, errors.Join(err, f.Close()))
	})
	p.oddity(t, dir+"/a", "changed", false)
	if contentOf(t, p, dir+"/a") != content {
		t.Error("it is not the begin")
	}
	p.unpack(t)
}

func TestPackRewrittenFile(t *testing.T) {
	dir := t.TempDir()
	content := large(t, dir+"/a")
	p := meanwhile(t, dir, func() {
		f, err := os.OpenFile(dir+"/a", os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteAt([]byte("other"), int64(len(content)-5))
		must(t, errors.Join(err, f.Close()))
	})
	p.oddity(t, dir+"/a", "changed", false)
	p.unpack(t)
}

func TestPackVanishedFile(t *testing.T) {
	dir := t.TempDir()
	large(t, dir+"/a")
	for i := range 100 {
		write(t, filepath.Join(dir, "z", string(rune('a'+i%26))+strings.Repeat("x", i)), "x")
	}
	write(t, dir+"/zz", "x")
	p := meanwhile(t, dir, func() { must(t, os.Remove(dir+"/zz")) })
	p.oddity(t, dir+"/zz", "vanished", false)
	p.unpack(t)
}

// A directory is a symbolic link by the time that it is its turn.
func TestPackDirectoryBecomesLink(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, outside+"/secret", "x")
	large(t, dir+"/a")
	for i := range 100 {
		write(t, filepath.Join(dir, "m", strings.Repeat("x", i+1)), "x")
	}
	write(t, dir+"/z/file", "x")
	p := meanwhile(t, dir, func() { must(t, errors.Join(os.RemoveAll(dir+"/z"), os.Symlink(outside, dir+"/z"))) })
	if got := names(p.list(t), dir+"/z"); len(got) > 0 {
		t.Errorf("the link was followed: %q", got)
	}
}

func contentOf(t testing.TB, p *packed, name string) string {
	t.Helper()
	r := p.open(t)
	e, err := r.Find(t.Context(), name)
	must(t, err)
	return content(t, r, e)
}

// asNobody runs a test of this program again as a user who is not root.
func asNobody(t *testing.T) (child bool) {
	t.Helper()
	if os.Geteuid() != 0 || runtime.GOOS == "windows" {
		return true
	}
	exe, err := os.Executable()
	must(t, err)
	b, err := os.ReadFile(exe)
	must(t, err)
	dir, err := os.MkdirTemp("", "offsite-nobody-")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, errors.Join(os.Chmod(dir, 0o777), os.WriteFile(dir+"/test", b, 0o755)))
	cmd := exec.CommandContext(t.Context(), dir+"/test", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	nobody(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
	return false
}

func TestPackUnreadable(t *testing.T) {
	if !asNobody(t) {
		return
	}
	dir := t.TempDir()
	write(t, dir+"/open", "x")
	write(t, dir+"/shut", "x")
	write(t, dir+"/z/in", "x")
	must(t, errors.Join(os.Chmod(dir+"/shut", 0), os.Chmod(dir+"/z", 0)))
	t.Cleanup(func() { must(t, os.Chmod(dir+"/z", 0o700)) })
	p := pack(t, archive.Options{Paths: []string{dir}})
	var odd []string
	for _, o := range p.odd {
		odd = append(odd, o.Path[len(dir):]+" "+o.What)
		if !o.Lost || !errors.Is(o.Err, os.ErrPermission) {
			t.Errorf("%v: lost %v, %v", o, o.Lost, o.Err)
		}
	}
	equal(t, odd, []string{"/shut unreadable", "/z unreadable"})
	equal(t, names(p.list(t), dir), []string{"open", "z"})
	p.unpack(t)
	for _, path := range []string{dir + "/shut", dir + "/z", dir + "/z/in"} {
		_, err := archive.Pack(t.Context(), io.Discard, archive.Options{Paths: []string{path}})
		if !errors.Is(err, core.ErrDenied) || !strings.Contains(err.Error(), "path") {
			t.Errorf("%s alone: %v", path, err)
		}
	}
}

func TestPackEndsWithContext(t *testing.T) {
	dir := t.TempDir()
	large(t, dir+"/a")
	for i := range 200 {
		write(t, filepath.Join(dir, "z", strings.Repeat("x", i+1)), "x")
	}
	why := errors.New("enough")
	for _, after := range []int{0, 1, 5} {
		// The bubble ends when all goroutines in it have.
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			n := 0
			_, err := archive.Pack(ctx, writer(func(b []byte) (int, error) {
				if n++; n > after {
					cancel(why)
				}
				return len(b), nil
			}), archive.Options{Paths: []string{dir}})
			if !errors.Is(err, why) {
				t.Errorf("after %d frames: %v", after, err)
			}
		})
	}
}

func TestPackWriterFails(t *testing.T) {
	dir := t.TempDir()
	large(t, dir+"/a")
	full := errors.New("full")
	for _, good := range []int{0, 1, 3, 16, 17, 18, 19} {
		n := 0
		_, err := archive.Pack(t.Context(), writer(func(b []byte) (int, error) {
			if n++; n > good {
				return 0, full
			}
			return len(b), nil
		}), archive.Options{Paths: []string{dir}})
		if !errors.Is(err, full) {
			t.Errorf("after %d writes: %v", good, err)
		}
	}
	_, err := archive.Pack(t.Context(), writer(func(b []byte) (int, error) { return len(b) - 1, nil }), archive.Options{Paths: []string{dir}})
	if !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a short write: %v", err)
	}
}
