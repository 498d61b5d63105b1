package command

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/offsite-backup/offsite/core"
)

// What is kept of an output: how it began, and how it ended.
const (
	headSize = 4 << 10
	tailSize = 28 << 10
)

// kept is the beginning and the end of what is written to it.
type kept struct {
	head, tail []byte
	total      int64
}

func (k *kept) write(p []byte) {
	k.total += int64(len(p))
	n := min(headSize-len(k.head), len(p))
	k.head, p = append(k.head, p[:n]...), p[n:]
	k.tail = append(k.tail, p[max(0, len(p)-tailSize):]...)
	if len(k.tail) > 2*tailSize {
		k.tail = k.tail[:copy(k.tail, k.tail[len(k.tail)-tailSize:])]
	}
}

// text is what a person may be shown, on a terminal too.
func (k *kept) text() string {
	tail := k.tail[max(0, len(k.tail)-tailSize):]
	if left := k.total - int64(len(k.head)+len(tail)); left > 0 {
		return visible(k.head) + fmt.Sprintf("\n[%d bytes are left out here]\n", left) + visible(tail)
	}
	return visible(slices.Concat(k.head, tail))
}

// visible shows what is not printed: characters that drive a terminal, or turn the
// direction of a text.
func visible(p []byte) string {
	var b strings.Builder
	for p = bytes.ReplaceAll(bytes.TrimSpace(p), []byte("\r\n"), []byte("\n")); len(p) > 0; {
		r, n := utf8.DecodeRune(p)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, p[0])
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
		p = p[n:]
	}
	return b.String()
}

// A redactor passes on what is written to it, without the secrets in it. A secret
// is also found where writes part it, or where a line was broken within it.
type redactor struct {
	kept    kept
	secrets [][]byte // see patterns
	begins  [256]bool
	reach   int    // bytes of the longest text that a secret can be
	held    []byte // what may be the beginning of one
	inside  int    // bytes of held that belong to one already passed on
}

func newRedactor(secrets [][]byte) *redactor {
	r := &redactor{secrets: secrets}
	for _, s := range secrets {
		r.begins[s[0]] = true
		r.reach = max(r.reach, len(s)*(1+len("\r\n")))
	}
	return r
}

func (r *redactor) write(p []byte) {
	if len(r.secrets) == 0 {
		r.kept.write(p)
		return
	}
	r.held = append(r.held, p...)
	r.pass(len(r.held) - r.reach)
}

// end returns all that is kept.
func (r *redactor) end() string {
	r.pass(len(r.held))
	return r.kept.text()
}

// pass passes on the first n bytes of what is held.
func (r *redactor) pass(n int) {
	from, i := 0, 0
	for ; i < n; i++ {
		long := r.match(r.held[i:])
		if long > 0 && r.inside == 0 {
			r.kept.write(r.held[from:i])
			r.kept.write([]byte(core.Secret{}.String()))
		}
		if r.inside = max(r.inside, long); r.inside > 0 { // two may overlap
			r.inside--
			from = i + 1
		}
	}
	r.kept.write(r.held[from:i])
	r.held = r.held[:copy(r.held, r.held[i:])]
}

// match returns how many bytes at the beginning of text are a secret.
func (r *redactor) match(text []byte) (long int) {
	if !r.begins[text[0]] {
		return 0
	}
	for _, s := range r.secrets {
		long = max(long, prefix(text, s))
	}
	return long
}

// prefix returns how many bytes of text are secret, with a line break between any
// two of them or none.
func prefix(text, secret []byte) int {
	n := 0
	for i, c := range secret {
		if i > 0 {
			n += lineBreak(text[n:])
		}
		if n >= len(text) || text[n] != c {
			return 0
		}
		n++
	}
	return n
}

func lineBreak(text []byte) int {
	for _, end := range []string{"\r\n", "\n", "\r"} {
		if len(text) >= len(end) && string(text[:len(end)]) == end {
			return len(end)
		}
	}
	return 0
}

// minLine is the shortest line of a secret that is one by itself: brackets of a key
// in JSON are none.
const minLine = 4

// patterns are the texts that give away the secrets of an environment: each without
// what is around it and without line breaks, and its lines.
func patterns(env map[string]any) (all [][]byte) {
	add := func(s string, least int) {
		s = strings.NewReplacer("\r", "", "\n", "").Replace(strings.TrimSpace(s))
		if len(s) >= least {
			all = append(all, []byte(s))
		}
	}
	for _, value := range env {
		s, ok := value.(core.Secret)
		if !ok {
			continue
		}
		add(s.Reveal(), 1)
		for line := range strings.Lines(s.Reveal()) {
			add(line, minLine)
		}
	}
	return all
}
