package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// dirWord stands for the hook's own directory in an argument.
const dirWord = "{dir}"

// expand puts a hook's own directory where its arguments name it. {{dir}} is {dir}.
func expand(argv []string, dir string) ([]string, error) {
	expanded := []string{argv[0]}
	for _, arg := range argv[1:] {
		if dir == "" && usesDir(arg) {
			return nil, fmt.Errorf("an argument has %s, and there is none here", dirWord)
		}
		expanded = append(expanded, replace(arg, dir))
	}
	return expanded, nil
}

func replace(arg, dir string) string {
	return strings.NewReplacer("{"+dirWord+"}", dirWord, dirWord, dir).Replace(arg)
}

func usesDir(arg string) bool { return replace(arg, "a") != replace(arg, "b") }

// find returns the path of a program: of a word without a slash the first one in
// the folders of path. A folder there that is not written in full is passed over:
// where a program stands says nothing of what it means to run.
func find(program, path string) (string, error) {
	if filepath.IsAbs(program) {
		return program, executable(program)
	}
	var denied error
	for _, folder := range filepath.SplitList(path) {
		if !filepath.IsAbs(folder) {
			continue
		}
		found := filepath.Join(folder, program)
		err := executable(found)
		if err == nil {
			return found, nil
		}
		if denied == nil && !errors.Is(err, fs.ErrNotExist) {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", fmt.Errorf("no such program in PATH, which is %q: write its path in full, or set PATH in env: %w", path, fs.ErrNotExist)
}

func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no such program: %w", fs.ErrNotExist)
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a folder: %w", path, fs.ErrPermission)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not executable: `chmod +x` it: %w", path, fs.ErrPermission)
	}
	return nil
}
