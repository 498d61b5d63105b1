package option

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// Invalid answers core.ErrInvalid for the first of errs that is one, and says of which
// place it is.
func Invalid(place string, errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return core.Errorf(core.ErrInvalid, "%s: %w", place, err)
		}
	}
	return nil
}

// Place is what a place on a server is called: the agent's kind, the host of the endpoint
// where there is one, since two servers may use the same words, and those words. Empty
// ones are left out.
func Place(kind, endpoint string, words ...string) string {
	if u, err := url.Parse(endpoint); err == nil {
		words = append([]string{u.Host}, words...)
	}
	return kind + ":" + strings.Join(slices.DeleteFunc(words, func(word string) bool { return word == "" }), "/")
}

// OneOf answers an error for a text that is none of all; "" is none that is given.
func OneOf(name, text string, all ...string) error {
	if text == "" || slices.Contains(all, text) {
		return nil
	}
	return fmt.Errorf("no %s %q; known are %s", name, text, strings.Join(all, ", "))
}

// maxPrefix leaves room for the keys below it: a key has 1,024 bytes at most.
const maxPrefix = 512

// Prefix answers an error for what may not stand before keys: more than 512 bytes, and
// words between slashes that are empty, "." or "..", or have what cannot be printed.
// "" is no prefix.
func Prefix(prefix string) error {
	if len(prefix) > maxPrefix {
		return fmt.Errorf("the prefix has %d bytes; %d are the most", len(prefix), maxPrefix)
	}
	for word := range strings.SplitSeq(prefix, "/") {
		if word == "." || word == ".." || word == "" && prefix != "" || strings.ContainsFunc(word, Unprintable) {
			return fmt.Errorf("the prefix has a word %q between its slashes", word)
		}
	}
	return nil
}

// Unprintable says whether a rune is none that a person sees, or one that some systems
// take for a slash.
func Unprintable(r rune) bool { return !strconv.IsPrint(r) || r == '\\' || r == '\uFFFD' }

// Endpoint answers an error for what is no URL of a server. It repeats nothing of it,
// which may be a secret. "" is none that is given.
func Endpoint(text, example string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("the endpoint is no URL such as %s", example)
	}
	return nil
}

// Lock answers an error for a lock that is none of modes, and for one without a time or
// a time without one.
func Lock(lock string, lockFor time.Duration, modes ...string) error {
	if (lock == "") != (lockFor == 0) || lockFor < 0 {
		return fmt.Errorf("lock and lock_for go together, such as lock=%s&lock_for=30d", modes[0])
	}
	return OneOf("lock", lock, modes...)
}

// Concurrency answers an error for what is not from 1 to 64; 0 is none that is given.
func Concurrency(n int) error {
	if n < 0 || n > 64 {
		return fmt.Errorf("a concurrency of %d is not from 1 to 64", n)
	}
	return nil
}

// PartSize answers an error for what is not from least to most bytes; 0 is none that is
// given.
func PartSize(n, least, most int64) error {
	if n != 0 && (n < least || n > most) {
		return fmt.Errorf("a part_size of %d bytes is not from %s to %s", n, formatSize(least), formatSize(most))
	}
	return nil
}

// formatSize is a size as people write it.
func formatSize(n int64) string {
	for _, unit := range []string{"GiB", "MiB", "KiB"} {
		if n%sizes[unit] == 0 {
			return strconv.FormatInt(n/sizes[unit], 10) + unit
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}
