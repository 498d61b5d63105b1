package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/archive"
)

// A place is an agent as a person named it.
type place struct {
	written string // on the command line
	name    string // of the agent
	dir     string // its directory on this machine, "" where it is elsewhere
	again   string // options of another command that mean it
	open    func(context.Context, core.Env) (core.Agent, error)
}

// A directory is a core.Config of an agent that keeps backups in a directory of
// this machine. Such an agent is read before others, and its directory is left
// out of what is backed up.
type directory interface {
	LocalDir() string // absolute
}

// places parses what was written behind an option, "--to " or "--from ", or behind
// none, "". Nothing is asked of the places.
func (a *app) places(option string, written []string) ([]place, error) {
	if len(written) == 0 {
		return nil, usagef("no place: give at least one %s, such as %s./copies", strings.TrimSpace(option), option)
	}
	var all []place
	for _, w := range written {
		c, err := a.kinds.Agents.Parse(w)
		if err != nil && option != "" {
			err = fmt.Errorf("%s: %w", strings.TrimSpace(option), err)
		}
		if err != nil {
			return nil, usageError{err: err}
		}
		p := place{written: w, name: c.Place(), dir: localDir(c), again: "--from " + shellWord(w), open: c.Open}
		for _, other := range all {
			if p.same(other) {
				return nil, usagef("%[1]s%[2]s and %[1]s%[3]s are the same place", option, other.written, w)
			}
		}
		all = append(all, p)
	}
	return all, nil
}

func localDir(c core.Config) string {
	if d, ok := c.(directory); ok {
		return d.LocalDir()
	}
	return ""
}

func (p place) same(other place) bool {
	return p.name == other.name || p.dir != "" && other.dir != "" && archive.RealPath(p.dir) == archive.RealPath(other.dir)
}

// contains says whether a path is dir or lies in it.
func contains(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// inside answers an error where a path to back up lies in a place to store at:
// all of that is left out, and so would the path be.
func (p place) inside(path string) error {
	abs, err := filepath.Abs(path)
	if err != nil || p.dir == "" {
		return err
	}
	if _, err := os.Lstat(abs); err == nil && contains(archive.RealPath(p.dir), archive.RealPath(abs)) {
		return usagef("%s lies in --to %s, which is left out of the backup: store at another place, or a folder of its own such as %s",
			path, p.written, filepath.Join(p.written, "copies"))
	}
	return nil
}
