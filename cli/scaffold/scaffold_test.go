package scaffold

import (
	"errors"
	"go/build"
	"go/format"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/core"
)

// root is a place that looks like the module.
func root(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"agents/s3", "hooks/command", "cmd/offsite"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module "+module+"\n\ngo 1.26\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func all(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		names = append(names, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// What is written is formatted, whatever its name, and nowhere keeps the name of the
// image. It is what is said to be written, and nothing else.
func TestWrite(t *testing.T) {
	for _, part := range []Part{Agent, Hook} {
		for _, name := range []string{"b2", "webdav", "anobjectstoreofanarch"[:20]} {
			dir := root(t)
			before := all(t, dir)
			files, err := Write(dir, part, name, nil)
			if err != nil {
				t.Fatal(err)
			}
			after := slices.DeleteFunc(all(t, dir), func(f string) bool { return slices.Contains(before, f) })
			slices.Sort(files)
			slices.Sort(after)
			if !slices.Equal(files, after) || !slices.Contains(files, "cmd/offsite/"+string(part)+"_"+name+".go") {
				t.Errorf("wrote %v, and said %v", after, files)
			}
			for _, f := range files {
				text, err := os.ReadFile(filepath.Join(dir, f))
				if err != nil {
					t.Fatal(err)
				}
				if formatted, err := format.Source(text); err != nil || string(formatted) != string(text) {
					t.Errorf("%s of %s is not formatted, %v", f, name, err)
				}
				if strings.Contains(string(text)+f, placeholder) {
					t.Errorf("%s has the name of the image", f)
				}
			}
		}
	}
}

// What is there stays as it is, and nothing is written beside it.
func TestWriteReplacesNothing(t *testing.T) {
	for _, there := range []string{"agents/b2/notes", "cmd/offsite/agent_b2.go"} {
		dir := root(t)
		full := filepath.Join(dir, there)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte("mine"), 0o644)); err != nil {
			t.Fatal(err)
		}
		before := all(t, dir)
		if _, err := Write(dir, Agent, "b2", nil); !errors.Is(err, core.ErrExists) {
			t.Errorf("%s: %v", there, err)
		}
		if text, err := os.ReadFile(full); string(text) != "mine" || err != nil || !slices.Equal(before, all(t, dir)) {
			t.Errorf("%s: %q, %v; there are %v", there, text, err, all(t, dir))
		}
	}
}

// Elsewhere than in the source nothing is written.
func TestWriteElsewhere(t *testing.T) {
	other := root(t)
	if err := os.WriteFile(filepath.Join(other, "go.mod"), []byte("module example.com/other\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	half := root(t)
	if err := os.RemoveAll(filepath.Join(half, "cmd")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{t.TempDir(), other, half} {
		before := all(t, dir)
		if _, err := Write(dir, Agent, "b2", nil); err == nil || errors.Is(err, core.ErrInvalid) {
			t.Errorf("%v", err)
		}
		if after := all(t, dir); !slices.Equal(before, after) {
			t.Errorf("wrote %v", after)
		}
	}
}

// A name that the program declares, in a test too, cannot be that of a package which it
// imports. Those of methods, and what its files import, can.
func TestDeclared(t *testing.T) {
	dir := root(t)
	text := `package main

import "example.com/elsewhere"

const ca, cb = 1, 2

var (
	va, vb = 1, 2
	vc     int
)

type ty struct{ field int }

func fu[parameter any]() { local := elsewhere.X }

func (ty) method() {}
`
	if err := os.WriteFile(filepath.Join(dir, "cmd", "offsite", "more_linux_test.go"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	before := all(t, dir)
	for _, name := range []string{"ca", "cb", "va", "vb", "vc", "ty", "fu"} {
		for _, part := range []Part{Agent, Hook} {
			if _, err := Write(dir, part, name, nil); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "more_linux_test.go") {
				t.Errorf("%s %s: %v", part, name, err)
			}
		}
	}
	if after := all(t, dir); !slices.Equal(before, after) {
		t.Errorf("wrote %v", after)
	}
	for _, name := range []string{"field", "parameter", "local", "method", "elsewhere"} {
		if _, err := Write(dir, Agent, name, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cmd", "offsite", "broken.go"), []byte("package"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(dir, Agent, "b2", nil); err == nil {
		t.Error("what cannot be read may declare it")
	}
}

// Names are those of packages that Go builds everywhere.
func TestNames(t *testing.T) {
	for _, name := range []string{
		"", "a", "B2", "b-2", "b_2", "2b", "../b", "b/c", "b.go", "ü", "averyverylongnamethatnobodytypes",
		"func", "core", "object", "test", "linux", "amd64", "taken", "url",
	} {
		if err := checkName(name, []string{"taken"}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"b2", "webdav", "gdrive", "swift", "unix"} {
		if err := checkName(name, []string{"taken"}); err != nil {
			t.Error(err)
		}
	}
	elsewhere := build.Context{GOOS: "plan9", GOARCH: "386", Compiler: "gc", OpenFile: func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("package main\n")), nil
	}}
	out, err := exec.Command("go", "tool", "dist", "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range append(strings.FieldsFunc(string(out), func(r rune) bool { return r == '/' || r == '\n' }), systems...) {
		if checkName(word, nil) == nil {
			t.Errorf("%s is a system of Go, and would be a name", word)
		}
		if ok, err := elsewhere.MatchFile(".", "agent_"+word+".go"); err != nil || ok && word != "test" && word != "plan9" && word != "386" {
			t.Errorf("agent_%s.go is built everywhere: %v", word, err)
		}
	}
}
