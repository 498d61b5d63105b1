//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// errFull ends a copy that is large enough.
var errFull = errors.New("enough")

// makeFolder fills a folder with so many bytes of source, which any machine has that
// built this program: Go's own and that of the modules that it has fetched, again and
// again if they are less.
func makeFolder(ctx context.Context, folder string, size int64) error {
	said, err := exec.CommandContext(ctx, "go", "env", "GOROOT", "GOMODCACHE").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	sources := strings.Fields(string(said))
	sources[0] = filepath.Join(sources[0], "src")
	for turn := 0; ; turn++ {
		before := size
		for i, source := range sources {
			to := filepath.Join(folder, fmt.Sprintf("%d-%d", turn, i))
			if err := copyFiles(ctx, source, to, &size); errors.Is(err, errFull) {
				return nil
			} else if err != nil {
				return err
			}
		}
		if size == before {
			return fmt.Errorf("no files in %s", strings.Join(sources, " and "))
		}
	}
}

// copyFiles copies the files below a folder, and takes their bytes from left until
// nothing is.
func copyFiles(ctx context.Context, from, to string, left *int64) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case *left <= 0:
			return errFull
		case d.IsDir() && d.Name() == "cache" && filepath.Dir(name) == from:
			return filepath.SkipDir // what was fetched, as it came
		case !d.Type().IsRegular():
			return nil
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		n, err := copyFile(name, filepath.Join(to, rel))
		*left -= n
		return err
	})
}

func copyFile(from, to string) (n int64, err error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return 0, err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	n, err = io.Copy(out, in)
	return n, errors.Join(err, out.Close())
}

// sizeOf are the files below a folder, and their bytes.
func sizeOf(folder string) (files int, size int64, err error) {
	err = filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files, size = files+1, size+info.Size()
		return nil
	})
	return files, size, err
}
