package config

import (
	"path/filepath"

	"github.com/offsite-backup/offsite/core/option"
)

// A rule is what the tag of a field adds to its type.
type rule struct {
	required bool // must be there
	path     bool // absolute
	set      bool // a list whose entries differ and are not empty
	empty    bool // may be empty: entries of other lists and mappings
}

// same is what two entries of a set have in common when they are one.
func (r rule) same(text string) string {
	if r.path {
		return filepath.Clean(text)
	}
	return text
}

// ruleOf is what the words of a tag mean.
func ruleOf(t option.Tag) rule {
	return rule{required: t.Has("required"), path: t.Has("path"), set: t.Has("set")}
}
