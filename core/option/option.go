// Package option finds the options of agents and hooks: the exported fields of their
// configuration structs. A configuration file and the URL of a place write the same
// options, by the same names and in the same words.
package option

import (
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// An Option is a field of a struct.
type Option struct {
	Name  string // as it is written: ca_bundle of CABundle
	Index []int  // of the field, see reflect.Value.FieldByIndex
	Tag   Tag
}

// A Tag is what the tag "config" of a field adds to its type: words between commas.
// A field tagged "-" is no option.
type Tag string

// Has says whether a word stands in the tag.
func (t Tag) Has(word string) bool { return slices.Contains(strings.Split(string(t), ","), word) }

// Of returns the options of a struct, those of structs that it embeds among them.
func Of(t reflect.Type) (all []Option) {
	for _, f := range reflect.VisibleFields(t) {
		tag := Tag(f.Tag.Get("config"))
		if f.IsExported() && !f.Anonymous && tag != "-" {
			all = append(all, Option{snake(f.Name), f.Index, tag})
		}
	}
	return all
}

// snake is the name of a field as people write it.
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
