package option

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SetQuery sets options from the query of a URL: part_size=32MiB&concurrency=4. config
// is a pointer to a struct; apart are options that stand elsewhere in the URL. What is
// not known, not understood, given twice or empty is an error that says what would be,
// and never repeats a secret. Secrets, lists and mappings cannot stand in a URL.
func SetQuery(config any, query string, apart ...string) error {
	given, err := url.ParseQuery(query)
	if err != nil { // whose text may hold a secret
		return errors.New("its options are not written as ?option=value&option=value")
	}
	v := reflect.ValueOf(config).Elem()
	all := slices.DeleteFunc(Of(v.Type()), func(o Option) bool {
		return slices.Contains(apart, o.Name) || !simple(v.FieldByIndex(o.Index).Type())
	})
	for _, name := range slices.Sorted(maps.Keys(given)) { // of several mistakes always the same is told
		texts := given[name]
		i := slices.IndexFunc(all, func(o Option) bool { return o.Name == name })
		if i < 0 {
			return fmt.Errorf("no option %q; %s", name, known(all))
		}
		if len(texts) > 1 {
			return fmt.Errorf("option %s is given twice", name)
		}
		if texts[0] == "" {
			return fmt.Errorf("option %s is empty", name)
		}
		if want := set(v.FieldByIndex(all[i].Index), texts[0]); want != "" {
			return fmt.Errorf("option %s: %q is not %s", name, texts[0], want)
		}
	}
	return nil
}

func known(all []Option) string {
	if len(all) == 0 {
		return "it takes none"
	}
	var names []string
	for _, o := range all {
		names = append(names, o.Name)
	}
	slices.Sort(names)
	return "known are " + strings.Join(names, ", ")
}

// simple says whether one text makes a value of a type.
func simple(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		return true
	}
	return false
}

// set sets v to what text means, or says what was wanted.
func set(v reflect.Value, text string) (want string) {
	switch v.Interface().(type) {
	case time.Duration:
		return parsed(v, text, ParseDuration, DurationWant)
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return set(v.Elem(), text)
	case reflect.Bool:
		return parsed(v, text, parseBool, "true or false")
	case reflect.Int:
		return parsed(v, text, parseCount, "a number from 1")
	case reflect.Int64:
		return parsed(v, text, ParseSize, SizeWant)
	}
	v.SetString(text)
	return ""
}

func parsed[T any](v reflect.Value, text string, parse func(string) (T, bool), want string) string {
	value, ok := parse(text)
	if !ok {
		return want
	}
	v.Set(reflect.ValueOf(value).Convert(v.Type()))
	return ""
}

func parseBool(s string) (bool, bool) { return s == "true", s == "true" || s == "false" }

func parseCount(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n > 0
}
