package config

import (
	"fmt"
	"iter"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/option"
)

// A decoder fills typed values from one file and collects what is wrong in it.
type decoder struct {
	file    string
	kinds   Kinds
	resolve func(reference) (core.Secret, error) // nil: references are read, and not followed
	errs    Errors
}

func (d *decoder) fail(n *yaml.Node, key, format string, args ...any) {
	d.errs = append(d.errs, &Error{File: d.file, Line: n.Line, Column: n.Column, Key: key, Text: fmt.Sprintf(format, args...)})
}

func (d *decoder) failAt(line, column int, text string) {
	d.errs = append(d.errs, &Error{File: d.file, Line: line, Column: column, Text: text})
}

// mapping yields the keys and values of a mapping that has some, each key once.
func (d *decoder) mapping(key string, n *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(k, v *yaml.Node) bool) {
		if n.Kind != yaml.MappingNode {
			d.wanted(n, key, "a mapping of keys and values")
			return
		}
		first := map[string]*yaml.Node{}
		for i := 0; i < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			switch before := first[k.Value]; {
			case !isText(k):
				d.fail(k, key, "a key here is %s; write it in quotes if it is text", kindOf(k))
			case k.Value == "":
				d.fail(k, key, "a key here is empty")
			case before != nil:
				d.fail(k, join(key, k.Value), "is there twice, first in line %d", before.Line)
			default:
				first[k.Value] = k
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// wanted says that a value is of another type than it has to be. It does not
// repeat the value.
func (d *decoder) wanted(n *yaml.Node, key, want string) {
	switch what := kindOf(n); {
	case what == "empty":
		d.fail(n, key, "has no value: wanted is %s; leave the key out where none is meant", want)
	default:
		d.fail(n, key, "is %s: wanted is %s", what, want)
	}
}

// pair is an entry of a mapping.
type pair struct{ key, value *yaml.Node }

// object fills the fields of the struct v and returns the entries whose keys are
// other, which are known as well.
func (d *decoder) object(key string, n *yaml.Node, v reflect.Value, other ...string) (found []pair) {
	fields, known := option.Of(v.Type()), slices.Clone(other)
	for _, o := range fields {
		known = append(known, o.Name)
	}
	for k, value := range d.mapping(key, n) {
		i := slices.IndexFunc(fields, func(o option.Option) bool { return o.Name == k.Value })
		switch {
		case slices.Contains(other, k.Value):
			found = append(found, pair{k, value})
		case i >= 0:
			d.value(join(key, k.Value), value, v.FieldByIndex(fields[i].Index), ruleOf(fields[i].Tag))
		default:
			d.fail(k, join(key, k.Value), "unknown key%s", meant(k.Value, known))
		}
	}
	for _, o := range fields {
		if ruleOf(o.Tag).required && n.Kind == yaml.MappingNode && child(n, o.Name) == nil {
			d.fail(n, key, "%s is missing", o.Name)
		}
	}
	return found
}

// value fills v.
func (d *decoder) value(key string, n *yaml.Node, v reflect.Value, r rule) {
	switch v.Interface().(type) {
	case core.Secret:
		v.Set(reflect.ValueOf(d.secret(key, n)))
		return
	case time.Duration:
		parsed(d, key, n, v, parseDuration, option.DurationWant)
		return
	case Hook:
		v.Set(reflect.ValueOf(d.hook(key, n)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(d.text(key, n, r))
	case reflect.Bool:
		parsed(d, key, n, v, parseBool, "true or false")
	case reflect.Int:
		parsed(d, key, n, v, parseInt, "a number from 1")
	case reflect.Int64:
		parsed(d, key, n, v, parseSize, option.SizeWant)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(key, n, v.Elem(), r)
	case reflect.Slice:
		d.list(key, n, v, r)
	case reflect.Map:
		d.named(key, n, v)
	case reflect.Struct:
		d.object(key, n, v)
	default:
		panic(fmt.Sprintf("config: %s: no option can be of type %v", key, v.Type()))
	}
}

// parsed fills v with what parse makes of a scalar.
func parsed[T any](d *decoder, key string, n *yaml.Node, v reflect.Value, parse func(*yaml.Node) (T, bool), want string) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.wanted(n, key, want)
		return
	}
	switch got, ok := parse(n); {
	case ok:
		v.Set(reflect.ValueOf(got).Convert(v.Type()))
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		d.fail(n, key, "%q, in quotes, is not %s", clip(n.Value), want)
	default:
		d.fail(n, key, "%q is not %s", clip(n.Value), want)
	}
}

func (d *decoder) text(key string, n *yaml.Node, r rule) string {
	switch {
	case !isText(n) && n.Kind == yaml.ScalarNode && n.Tag != "!!null":
		d.fail(n, key, "is %s: wanted is text; write it in quotes", kindOf(n))
	case !isText(n):
		d.wanted(n, key, "text")
	case strings.ContainsRune(n.Value, 0):
		d.fail(n, key, "holds a zero byte")
	case n.Value == "" && !r.empty:
		d.fail(n, key, "is empty: leave the key out where none is meant")
	case r.path && strings.HasPrefix(n.Value, "~"):
		d.fail(n, key, "%q: ~ is not expanded here; write the path in full", clip(n.Value))
	case r.path && !filepath.IsAbs(n.Value):
		d.fail(n, key, "%q is not written in full: a path begins at the root, because a program may stand anywhere when it starts", clip(n.Value))
	default:
		return n.Value
	}
	return ""
}

func (d *decoder) list(key string, n *yaml.Node, v reflect.Value, r rule) {
	switch {
	case n.Kind != yaml.SequenceNode && isText(n):
		d.fail(n, key, "is text: wanted is a list, such as [one, two]")
		return
	case n.Kind != yaml.SequenceNode:
		d.wanted(n, key, "a list, such as [one, two]")
		return
	case len(n.Content) == 0:
		d.fail(n, key, "is empty: leave the key out where none is meant")
		return
	}
	r.empty = !r.set
	first := map[string]*yaml.Node{}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", key, i)
		d.value(at, item, v.Index(i), r)
		if !r.set || !isText(item) {
			continue
		}
		if before := first[r.same(item.Value)]; before != nil {
			d.fail(item, at, "%q is there twice, first in line %d", clip(item.Value), before.Line)
		}
		first[r.same(item.Value)] = item
	}
}

func (d *decoder) named(key string, n *yaml.Node, v reflect.Value) {
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		d.fail(n, key, "is empty: leave the key out where none is meant")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for k, value := range d.mapping(key, n) {
		at, one := join(key, k.Value), reflect.New(v.Type().Elem()).Elem()
		switch {
		case strings.ContainsRune(k.Value, 0):
			d.fail(k, key, "a name holds a zero byte")
			continue
		case one.Kind() == reflect.Interface && value.Kind == yaml.MappingNode:
			one.Set(reflect.ValueOf(d.secret(at, value)))
		case one.Kind() == reflect.Interface:
			one.Set(reflect.ValueOf(d.text(at, value, rule{empty: true})))
		default:
			d.value(at, value, one, rule{empty: true})
		}
		v.SetMapIndex(reflect.ValueOf(k.Value), one)
	}
}
