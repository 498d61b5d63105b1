package cli

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// visible returns s with everything that is no plain text written as an escape,
// so that a name from outside cannot move the cursor or begin a line.
func visible(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		i += n
	}
	return b.String()
}

// quoted returns a name as it is when a person can read it for what it is, else
// in Go's quotes, which keep every byte.
func quoted(name string) string {
	if name == "" || visible(name) != name || strings.ContainsAny(name, `"\`) || strings.TrimSpace(name) != name {
		return strconv.Quote(name)
	}
	return name
}

// orDash is text of a table that may be empty.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return quoted(s)
}

var plainWord = regexp.MustCompile(`^[0-9A-Za-z_@%+=:,./~^-]+$`)

// shellWord returns a word as a shell reads it back.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// size writes bytes for people.
func size(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f, unit := float64(n), 0
	// What would be written as 1024.0 is one of the next unit.
	for f >= 1023.95 && unit < len(units)-1 {
		f, unit = f/1024, unit+1
	}
	return fmt.Sprintf("%.1f %s", f, units[unit])
}

var units = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}

// count writes a number of things.
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatInt(n, 10) + " " + many
}

// utc writes a time for people and scripts alike.
func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// took writes how long something took.
func took(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
