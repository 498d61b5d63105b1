// Package scaffold writes the folder of a new agent or hook into the source of this
// module, with tests that run, and fail where something is not written yet.
//
// The folders _agent and _hook are images of what is written, by the name sixth.
package scaffold

import (
	"embed"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/offsite-backup/offsite/core"
)

// A Part is what can be written.
type Part string

// The parts of the module.
const (
	Agent Part = "agent"
	Hook  Part = "hook"
)

//go:embed _agent _hook
var images embed.FS

const (
	module      = "github.com/offsite-backup/offsite"
	placeholder = "sixth"
)

// Write writes a part of a name into the root of the module, and returns the files by
// their paths there, with slashes. It writes all or nothing and replaces nothing:
// core.ErrExists. taken are names that mean something else already. core.ErrInvalid is
// of names that cannot be one.
func Write(root string, part Part, name string, taken []string) (files []string, err error) {
	if err := checkName(name, taken); err != nil {
		return nil, err
	}
	if err := checkRoot(root, part); err != nil {
		return nil, err
	}
	contents := map[string][]byte{}
	image := "_" + string(part)
	err = fs.WalkDir(images, image, func(from string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := images.ReadFile(from)
		if err != nil {
			return err
		}
		to := strings.ReplaceAll(strings.TrimPrefix(from, image+"/"), placeholder, name)
		contents[to] = []byte(strings.ReplaceAll(string(text), placeholder, name))
		files = append(files, to)
		return nil
	})
	if err == nil {
		err = checkDeclared(filepath.Join(root, "cmd", "offsite"), name, files)
	}
	if err != nil {
		return nil, err
	}
	return files, write(root, files, contents)
}

// write makes files, and leaves none where one cannot be made.
func write(root string, files []string, contents map[string][]byte) (err error) {
	var made []string
	defer func() {
		if err == nil {
			return
		}
		for _, name := range slices.Backward(made) {
			err = errors.Join(err, os.Remove(name))
		}
	}()
	for _, file := range files {
		full := filepath.Join(root, filepath.FromSlash(file))
		if top, _, _ := strings.Cut(file, "/"); top != "cmd" && !slices.Contains(made, filepath.Dir(full)) {
			if err := os.Mkdir(filepath.Dir(full), 0o755); err != nil {
				return there(path.Dir(file), err)
			}
			made = append(made, filepath.Dir(full))
		}
		f, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return there(file, err)
		}
		made = append(made, full)
		_, err = f.Write(contents[file])
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func there(file string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return core.Errorf(core.ErrExists, "%s is there already", file)
	}
	return err
}

// checkRoot says where to stand.
func checkRoot(root string, part Part) error {
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil || !strings.HasPrefix(string(text), "module "+module+"\n") {
		return fmt.Errorf("this is not the root of the source of offsite, where its go.mod is: change to it")
	}
	for _, dir := range []string{string(part) + "s", path.Join("cmd", "offsite")} {
		if info, err := os.Stat(filepath.Join(root, filepath.FromSlash(dir))); err != nil || !info.IsDir() {
			return fmt.Errorf("the source of offsite has no folder %s here", dir)
		}
	}
	return nil
}

var names = regexp.MustCompile(`^[a-z][a-z0-9]{1,19}$`)

func checkName(name string, taken []string) error {
	switch {
	case !names.MatchString(name):
		return core.Errorf(core.ErrInvalid, "%.40q is no name of a package: 2 to 20 of a-z 0-9, a letter first", name)
	case token.IsKeyword(name) || slices.Contains(imported, name):
		return core.Errorf(core.ErrInvalid, "%q means something else in the code that is written", name)
	case slices.Contains(systems, name):
		return core.Errorf(core.ErrInvalid, "%q ends the names of files that Go builds for one system, or as tests: take another name", name)
	case slices.Contains(taken, name):
		return core.Errorf(core.ErrInvalid, "%q is taken: take another name", name)
	}
	return nil
}

// checkDeclared refuses a name that the package in dir declares, in a test too: the file
// that is written there imports a package of that name. Those to be written it does not
// read.
func checkDeclared(dir, name string, written []string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if slices.Contains(written, path.Join("cmd", "offsite", filepath.Base(file))) {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(f.Decls, func(d ast.Decl) bool { return declares(d, name) }) {
			return core.Errorf(core.ErrInvalid, "%q means something else in %s: take another name", name, file)
		}
	}
	return nil
}

func declares(decl ast.Decl, name string) bool {
	is := func(i *ast.Ident) bool { return i.Name == name }
	switch d := decl.(type) {
	case *ast.FuncDecl:
		return d.Recv == nil && is(d.Name)
	case *ast.GenDecl:
		return slices.ContainsFunc(d.Specs, func(spec ast.Spec) bool {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				return is(s.Name)
			case *ast.ValueSpec:
				return slices.ContainsFunc(s.Names, is)
			}
			return false
		})
	}
	return false
}

// imported are the packages that the written code imports, and what it declares.
var imported = []string{
	"cmp", "config", "conformance", "context", "core", "errors", "fmt", "io", "iter", "main", "name", "object",
	"option", "program", "prove", "reflect", "slog", "strings", "testing", "time", "url",
	"any", "bool", "byte", "error", "false", "init", "int64", "int", "new", "nil", "range", "string", "true",
	"append", "multipart", "store", "target", "internal", "vendor", "testdata",
}

// systems are what a file name can end with that Go then leaves out elsewhere:
// https://pkg.go.dev/cmd/go#hdr-Build_constraints
var systems = []string{
	"test",
	"aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux", "nacl", "netbsd",
	"openbsd", "plan9", "solaris", "wasip1", "windows", "zos",
	"386", "amd64", "amd64p32", "arm", "arm64", "arm64be", "armbe", "loong64", "mips", "mips64", "mips64le",
	"mips64p32", "mips64p32le", "mipsle", "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc",
	"sparc64", "wasm",
}
