package archive

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/offsite-backup/offsite/core"
)

// A pattern is one of Options.Exclude, taken apart.
type pattern struct {
	parts []string // matched against as many last or all parts of a path
	root  bool     // counted from the root of the file system
	dir   bool     // matches directories only
}

// CheckExclude answers ErrInvalid for what cannot stand in Options.Exclude, before
// anything is touched.
func CheckExclude(patterns []string) error {
	_, err := parsePatterns(patterns)
	return err
}

func parsePatterns(texts []string) (ps []pattern, err error) {
	for _, text := range texts {
		p, err := parsePattern(text)
		if err != nil {
			return nil, err
		}
		ps = append(ps, p)
	}
	return ps, nil
}

func parsePattern(text string) (p pattern, err error) {
	rest, dir := strings.CutSuffix(text, "/")
	rest, root := strings.CutPrefix(rest, "/")
	p = pattern{parts: strings.Split(rest, "/"), root: root, dir: dir}
	for _, part := range p.parts {
		_, err := path.Match(part, "")
		if err != nil || part == "" || part == "." || part == ".." {
			return p, core.Errorf(core.ErrInvalid, "exclude %q: %q is no pattern of a name", text, part)
		}
		if strings.Contains(part, "**") {
			return p, core.Errorf(core.ErrInvalid, "exclude %q: ** is not known; a pattern without a slash matches at any depth", text)
		}
	}
	return p, nil
}

// match says whether what is called name in the archive, and lies at below in one
// of the paths to back up, is left out.
func (p pattern) match(name, below string, isDir bool) bool {
	if p.dir && !isDir {
		return false
	}
	switch {
	case p.root:
		return matchParts(p.parts, name)
	case len(p.parts) > 1:
		return matchParts(p.parts, below)
	}
	return matchParts(p.parts, baseName(name))
}

func matchParts(patterns []string, name string) bool {
	if strings.Count(name, "/") != len(patterns)-1 {
		return false
	}
	i := 0
	for part := range strings.SplitSeq(name, "/") {
		// A pattern that is malformed was refused before.
		if ok, err := path.Match(patterns[i], part); !ok || err != nil {
			return false
		}
		i++
	}
	return true
}

// A left thing is one of Options.Leave. It may not be there yet: a destination
// is made when its first byte is stored.
type left struct {
	path string      // without symbolic links, as far as it exists
	info fs.FileInfo // nil while it is not there
}

func leave(paths []string) (ls []left, err error) {
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, core.Errorf(core.ErrInvalid, "what to leave out: %w", err)
		}
		l := left{path: RealPath(abs)}
		l.info, _ = os.Stat(l.path)
		ls = append(ls, l)
	}
	return ls, nil
}

// RealPath follows the symbolic links in the part of an absolute path that exists:
// two paths with one RealPath are one place, also when it is not made yet.
func RealPath(abs string) string {
	real, err := filepath.EvalSymlinks(abs)
	switch {
	case err == nil:
		return real
	case filepath.Dir(abs) == abs:
		return abs
	}
	return filepath.Join(RealPath(filepath.Dir(abs)), filepath.Base(abs))
}

// is says whether info, found as base, is the left thing.
func (l *left) is(info fs.FileInfo, base string) bool {
	if l.info == nil && filepath.Base(l.path) == base {
		l.info, _ = os.Stat(l.path)
	}
	return l.info != nil && os.SameFile(l.info, info)
}
