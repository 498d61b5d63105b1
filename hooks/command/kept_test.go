package command

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/offsite-backup/offsite/core"
)

// printed is what is shown of what is written, secrets being those of variables.
func printed(secrets []string, writes ...string) string {
	env := map[string]any{"PLAIN": "plain"}
	for i, s := range secrets {
		env[fmt.Sprintf("S%d", i)] = core.NewSecret(s)
	}
	r := newRedactor(patterns(env))
	for _, w := range writes {
		r.write([]byte(w))
	}
	return r.end()
}

func TestSecretsAreNotShown(t *testing.T) {
	const key = "-----BEGIN KEY-----\r\n  MIIEvQ\n  }\nIBADAN==\n-----END KEY-----\n"
	tests := map[string]struct {
		secrets []string
		writes  []string
		want    string
	}{
		"none":               {nil, []string{"hunter2"}, "hunter2"},
		"plain variables":    {[]string{"x"}, []string{"plain"}, "plain"},
		"once":               {[]string{"hunter2"}, []string{"password hunter2!"}, "password [secret]!"},
		"twice":              {[]string{"hunter2"}, []string{"hunter2, hunter2"}, "[secret], [secret]"},
		"at the end":         {[]string{"hunter2"}, []string{"x hunter2"}, "x [secret]"},
		"nearly":             {[]string{"hunter2"}, []string{"hunter hunter2hunter"}, "hunter [secret]hunter"},
		"beginning at end":   {[]string{"hunter2"}, []string{"hunter"}, "hunter"},
		"false start":        {[]string{"aab"}, []string{"aaab"}, "a[secret]"},
		"two writes":         {[]string{"hunter2"}, []string{"hun", "ter2"}, "[secret]"},
		"byte by byte":       {[]string{"hunter2"}, strings.Split("a hunter2 b", ""), "a [secret] b"},
		"two lines":          {[]string{"hunter2"}, []string{"hun\nter2"}, "[secret]"},
		"two lines of DOS":   {[]string{"hunter2"}, []string{"hun\r", "\nter2"}, "[secret]"},
		"a line each":        {[]string{"hunter2"}, []string{"h\nu\nn\nt\ne\nr\n2\n3"}, "[secret]\n3"},
		"one byte":           {[]string{"x"}, []string{"axb"}, "a[secret]b"},
		"around it":          {[]string{" hunter2\n"}, []string{"[hunter2]"}, "[[secret]]"},
		"one in another":     {[]string{"hunter", "hunter2"}, []string{"hunter2 hunter"}, "[secret] [secret]"},
		"one over another":   {[]string{"abcd", "cdef"}, []string{"xabcdefx"}, "x[secret]x"},
		"whole key":          {[]string{key}, []string{"a ", key, " b"}, "a [secret]\n b"},
		"key in one line":    {[]string{key}, []string{strings.ReplaceAll(key, "\r\n", ""), "."}, "[secret]\n."},
		"line of a key":      {[]string{key}, []string{"bad line: 'MIIEvQ' }"}, "bad line: '[secret]' }"},
		"last line of a key": {[]string{key}, []string{"IBADAN=="}, "[secret]"},
		"nothing but space":  {[]string{" \n"}, []string{"a b"}, "a b"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := printed(test.secrets, test.writes...); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// A secret is found wherever what is printed is cut into writes, or once between any
// two characters into lines.
func TestSecretsInAnyPieces(t *testing.T) {
	secrets, shown := []string{"aab-ba", "abba"}, regexp.MustCompile(`a\n?a\n?b\n?-\n?b\n?a|a\n?b\n?b\n?a`)
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.SampledFrom([]string{"a", "b", "ab", "\n", "\r\n", "x", "aab-ba", "abba"})
		pieces := rapid.SliceOfN(piece, 0, 40).Draw(t, "pieces")
		whole := strings.Join(pieces, "")
		got := printed(secrets, pieces...)
		if want := printed(secrets, whole); got != want {
			t.Errorf("%q in pieces, %q at once", got, want)
		}
		if shown.MatchString(got) {
			t.Errorf("%q is shown as %q", whole, got)
		}
		if is := shown.MatchString(strings.ReplaceAll(whole, "\r", "")); is != strings.Contains(got, "[secret]") {
			t.Errorf("%q is shown as %q", whole, got)
		}
	})
}

func TestLongOutput(t *testing.T) {
	line := strings.Repeat("0123456789", 10) + "\n"
	for _, size := range []int{0, 1, headSize, headSize + 1, headSize + tailSize, headSize + tailSize + 1, 10 * tailSize} {
		text := "first" + strings.Repeat(line, size/len(line)+1)
		text = text[:size]
		want := strings.TrimSpace(text)
		if size > headSize+tailSize {
			want = strings.TrimSpace(text[:headSize]) + fmt.Sprintf("\n[%d bytes are left out here]\n", size-headSize-tailSize) + strings.TrimSpace(text[size-tailSize:])
		}
		for _, chunk := range []int{1, 1000, 1 << 20} {
			var k kept
			for p := []byte(text); len(p) > 0; p = p[min(chunk, len(p)):] {
				k.write(p[:min(chunk, len(p))])
			}
			if got := k.text(); got != want {
				t.Errorf("%d bytes by %d: %d bytes, want %d", size, chunk, len(got), len(want))
			}
			if c := cap(k.head) + cap(k.tail); c > 1<<20+8*tailSize {
				t.Errorf("%d bytes by %d are held in %d", size, chunk, c)
			}
		}
	}
}

// A secret is not shown where it lies across what is left out.
func TestSecretAtTheCut(t *testing.T) {
	const secret = "correct-horse-battery-staple"
	for shift := -len(secret) - 10; shift < 10; shift++ {
		text := strings.Repeat("x", headSize+shift) + secret + strings.Repeat("y", tailSize) + secret + strings.Repeat("z", tailSize+shift)
		got := printed([]string{secret}, text)
		for n := 4; n <= len(secret); n++ {
			if strings.Contains(got, secret[:n]) || strings.Contains(got, secret[len(secret)-n:]) {
				t.Fatalf("shifted by %d, %d characters of it are shown", shift, n)
			}
		}
	}
}

func TestControlCharactersAreVisible(t *testing.T) {
	tests := map[string]string{
		"\x1b[2J\x1b]0;title\a":   `\x1b[2J\x1b]0;title\a`,
		"10%\r20%\r\nend":         `10%\r20%` + "\nend",
		"\n a\tb \n\n":            "a\tb",
		"\u202eexe.gpj \u200b":    `\u202eexe.gpj \u200b`,
		"a\u0085 \x7f \x9b \xffä": `a\u0085 \x7f \x9b \xffä`,
		"'quoted' \"twice\" \\n":  `'quoted' "twice" \n`,
		"a\x00b":                  `a\x00b`,
	}
	for text, want := range tests {
		if got := visible([]byte(text)); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
	if p := []byte("\r\n\x1b"); visible(p) != `\x1b` || !bytes.Equal(p, []byte("\r\n\x1b")) {
		t.Errorf("what is shown was changed: %q", p)
	}
}
