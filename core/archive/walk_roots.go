package archive

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/offsite-backup/offsite/core"
)

// A root is where a walk begins: a path to back up, or a directory that appears
// in the archive under a name of its own.
type root struct {
	name string // in the archive; "" is the root of the file system
	path string // on disk, absolute, as the caller named it
	real string // the same without symbolic links
	dir  bool   // from Options.Dirs
}

// roots returns what o names in walk order, each checked to be there. Paths that
// lie in another are part of that.
func roots(o Options) ([]root, error) {
	var rs []root
	for _, p := range o.Paths {
		r, err := pathRoot(p)
		if err != nil {
			return nil, err
		}
		rs = append(rs, r)
	}
	slices.SortFunc(rs, byName)
	rs, err := merge(rs)
	if err != nil {
		return nil, err
	}
	dirs, err := dirRoots(o.Dirs)
	if err != nil {
		return nil, err
	}
	for _, d := range dirs {
		if err := collision(rs, d); err != nil {
			return nil, err
		}
	}
	rs = append(rs, dirs...)
	slices.SortFunc(rs, byName)
	return rs, nil
}

func byName(a, b root) int { return compareNames(a.name, b.name) }

// pathRoot resolves one of Options.Paths.
func pathRoot(told string) (root, error) {
	if told == "" {
		return root{}, core.Errorf(core.ErrInvalid, "a path to back up is empty")
	}
	abs, err := filepath.Abs(told)
	if err != nil {
		return root{}, core.Errorf(core.ErrInvalid, "path to back up: %w", err)
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return root{}, missing(abs, err)
	}
	return root{name: nameOf(abs), path: abs, real: real}, nil
}

func missing(path string, err error) error {
	kind := core.ErrUnavailable
	switch {
	case os.IsNotExist(err):
		kind = core.ErrNotFound
	case os.IsPermission(err):
		kind = core.ErrDenied
	}
	return core.Errorf(kind, "path to back up %q: %w", path, err)
}

// nameOf is the name in an archive of an absolute path: without the leading
// slash, a volume as its first part.
func nameOf(abs string) string {
	volume := filepath.VolumeName(abs)
	rest := filepath.ToSlash(abs[len(volume):])
	volume = strings.TrimSuffix(filepath.ToSlash(volume), ":")
	return strings.Trim(strings.TrimRight(volume, "/")+rest, "/")
}

// merge drops roots that are there twice or that the walk of another reaches by
// itself.
func merge(sorted []root) (rs []root, err error) {
	for _, r := range sorted {
		covered := false
		// The last one around r is the innermost.
		for i := len(rs) - 1; i >= 0; i-- {
			if rs[i].name == r.name || within(r.name, rs[i].name) {
				if covered, err = rs[i].covers(r); err != nil {
					return nil, err
				}
				break
			}
		}
		if !covered {
			rs = append(rs, r)
		}
	}
	return rs, nil
}

// covers says whether the walk of o, which is around r, reaches it. It does not where r is itself a
// symbolic link, which o has as such and r stands for what it points to. Where
// only the way to r has one, the archive would hold both that link and something
// below it, which nobody can unpack.
func (o root) covers(r root) (bool, error) {
	if o.name == r.name {
		return true, nil
	}
	rel, err := filepath.Rel(o.path, r.path)
	if err != nil {
		return false, core.Errorf(core.ErrInvalid, "path to back up %q: %w", r.path, err)
	}
	if filepath.Join(o.real, rel) == r.real {
		return true, nil
	}
	way, err := filepath.EvalSymlinks(filepath.Dir(r.path))
	if err == nil && way != filepath.Join(o.real, filepath.Dir(rel)) {
		err = core.Errorf(core.ErrInvalid, "path to back up %q goes through a symbolic link in %q, which is backed up as well: name it %q", r.path, o.path, r.real)
	}
	return false, err
}

// within says whether name lies below dir, "" being above everything.
func within(name, dir string) bool {
	if dir == "" {
		return name != ""
	}
	return len(name) > len(dir) && name[len(dir)] == '/' && name[:len(dir)] == dir
}

func dirRoots(dirs map[string]string) (rs []root, err error) {
	for name, path := range dirs {
		if !validName(name) {
			return nil, core.Errorf(core.ErrInvalid, "%q is no name for a directory in an archive", name)
		}
		abs, err := filepath.Abs(path)
		if err == nil {
			abs, err = filepath.EvalSymlinks(abs)
		}
		if err != nil {
			return nil, missing(path, err)
		}
		rs = append(rs, root{name: name, path: abs, real: abs, dir: true})
	}
	slices.SortFunc(rs, byName)
	for i := 1; i < len(rs); i++ {
		if within(rs[i].name, rs[i-1].name) {
			return nil, core.Errorf(core.ErrInvalid, "%q lies in %q: both are directories of their own", rs[i].name, rs[i-1].name)
		}
	}
	return rs, nil
}

// collision refuses a path whose files would mix with those of d: "/hooks" or
// what is in it, where d is "hooks/db", and "/" where it has "/hooks".
func collision(rs []root, d root) error {
	top, _, _ := strings.Cut(d.name, "/")
	for _, r := range rs {
		_, err := os.Lstat(filepath.Join(r.real, top))
		if r.name == top || within(r.name, top) || r.name == "" && err == nil {
			return core.Errorf(core.ErrInvalid, "path to back up %q would mix with %q in the archive, which holds what hooks leave: back it up by another path", r.path, d.name)
		}
	}
	return nil
}

// validName says whether a name can stand in an archive: parts that are not
// empty, "." or "..", with a slash between them, and no NUL.
func validName(name string) bool {
	if strings.IndexByte(name, 0) >= 0 {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}
