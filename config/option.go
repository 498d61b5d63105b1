package config

import (
	"path/filepath"
	"reflect"
	"strings"
	"unicode"
)

// An option is a field of a struct, as a configuration writes it.
type option struct {
	name  string
	index []int
	rule  rule
}

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

// optionsOf are the options of a struct, those of structs that it embeds among
// them.
func optionsOf(t reflect.Type) (all []option) {
	for _, f := range reflect.VisibleFields(t) {
		tag := f.Tag.Get("config")
		if !f.IsExported() || f.Anonymous || tag == "-" {
			continue
		}
		words := "," + tag + ","
		all = append(all, option{snake(f.Name), f.Index, rule{
			required: strings.Contains(words, ",required,"),
			path:     strings.Contains(words, ",path,"),
			set:      strings.Contains(words, ",set,"),
		}})
	}
	return all
}

// snake is the name of a field as a configuration writes it: ca_bundle of
// CABundle.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		begins := unicode.IsUpper(r) && i > 0 &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if begins {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
