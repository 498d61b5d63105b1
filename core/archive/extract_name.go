package archive

import (
	"path"
	"strings"

	"github.com/offsite-backup/offsite/core"
)

// extractLongest is the most bytes that a name may have: eight times what Linux
// takes for a path.
const extractLongest = 32 << 10

// extractName returns a name of the archive, or where a hard link leads, without
// what means nothing: "./", doubled slashes, one at the end. "." is the root.
func extractName(name string) (string, error) {
	bad := ""
	switch {
	case name == "":
		bad = "has no name"
	case name[0] == '/':
		bad = "has an absolute name"
	case len(name) > extractLongest:
		return "", core.Errorf(core.ErrDamaged, "archive entry %q… has a name of %d bytes", name[:64], len(name))
	case strings.IndexByte(name, 0) >= 0:
		bad = "has a zero byte in its name"
	case hasDotDot(name):
		bad = `has ".." in its name`
	}
	if bad != "" {
		return "", core.Errorf(core.ErrDamaged, "archive entry %q %s", name, bad)
	}
	return path.Clean(name), nil
}

func hasDotDot(name string) bool {
	for element := range strings.SplitSeq(name, "/") {
		if element == ".." {
			return true
		}
	}
	return false
}

// above returns the directory that a name lies in, "" for the root.
func above(name string) string { return name[:max(strings.LastIndexByte(name, '/'), 0)] }

// belowName is the clean form of ExtractOptions.Below; "" is the root.
func belowName(below string) (string, error) {
	below = cleanName(below)
	if below == "" || below == "." {
		return "", nil
	}
	name, err := extractName(below)
	if err != nil {
		return "", core.Errorf(core.ErrInvalid, "%q is no name in an archive", below)
	}
	return name, nil
}

// place returns an entry's name in the target, and whether it is restored.
func (x *extraction) place(name string, isDir bool) (rel string, ok bool) {
	switch {
	case name == ".":
		return "", false // the target is the caller's
	case x.below == "":
		return name, true
	case name == x.below:
		x.found = true
		return path.Base(name), !isDir
	case within(name, x.below):
		x.found = true
		return name[len(x.below)+1:], true
	}
	return "", false
}
