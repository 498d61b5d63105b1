package archive

import (
	"maps"
	"path"
	"slices"
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

// An extractChoice says what of an archive is restored, and where.
type extractChoice struct {
	below string
	found bool            // whether below was there
	only  map[string]bool // and whether each was there
	onWay map[string]bool // directories above those
}

func newExtractChoice(below string, only []string) (*extractChoice, error) {
	c := &extractChoice{found: true}
	if below = strings.Trim(below, "/"); below != "" {
		name, err := chosen(below)
		if err != nil {
			return nil, err
		}
		c.below, c.found = name, name == ""
	}
	if only == nil {
		return c, nil
	}
	c.only, c.onWay = map[string]bool{}, map[string]bool{}
	for _, o := range only {
		name, err := chosen(strings.Trim(o, "/"))
		if err != nil {
			return nil, err
		}
		c.only[name] = false
		for name != "" {
			name = above(name)
			c.onWay[name] = true
		}
	}
	return c, nil
}

// chosen is the clean form of a name that a person gave; "" is the root.
func chosen(name string) (string, error) {
	if name == "" || name == "." {
		return "", nil
	}
	clean, err := extractName(name)
	if err != nil {
		return "", core.Errorf(core.ErrInvalid, "%q is no name in an archive", name)
	}
	return clean, nil
}

// What becomes of an entry.
const (
	extractSkip = iota // nothing
	extractTake        // it is restored
	extractPass        // it is a directory above what is restored
)

// place returns an entry's name in the target, and what becomes of it.
func (c *extractChoice) place(name string, isDir bool) (rel string, verdict int) {
	if name == "." {
		return "", extractSkip // the target is the caller's
	}
	switch {
	case c.below == "":
		rel = name
	case name == c.below:
		c.found = true
		if isDir {
			c.inOnly(name)
			return "", extractSkip
		}
		rel = path.Base(name)
	case strings.HasPrefix(name, c.below) && name[len(c.below)] == '/':
		rel, c.found = name[len(c.below)+1:], true
	default:
		return "", extractSkip
	}
	switch {
	case c.inOnly(name):
		return rel, extractTake
	case isDir && c.onWay[name]:
		return rel, extractPass
	}
	return "", extractSkip
}

// inOnly says whether a name, or a directory that it lies in, is chosen.
func (c *extractChoice) inOnly(name string) bool {
	if c.only == nil {
		return true
	}
	for {
		if _, ok := c.only[name]; ok {
			c.only[name] = true
			return true
		}
		if name == "" {
			return false
		}
		name = above(name)
	}
}

// missing is ErrNotFound for a chosen name that the archive did not have.
func (c *extractChoice) missing() error {
	if !c.found {
		return core.Errorf(core.ErrNotFound, "the archive has no %q", c.below)
	}
	for _, name := range slices.Sorted(maps.Keys(c.only)) {
		if !c.only[name] && name != "" {
			return core.Errorf(core.ErrNotFound, "the archive has no %q", name)
		}
	}
	return nil
}
