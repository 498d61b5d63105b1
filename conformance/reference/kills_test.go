package reference

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/conformance"
)

var update = flag.Bool("update", false, "write the golden file")

// row is one line of docs/kills.md.
type row struct {
	words, state string
	finds        []string
}

func kills(t *testing.T) map[string]row {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "kills.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]row{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		id := strings.TrimSpace(cells[0])
		if len(cells) != 4 || !regexp.MustCompile(`^[A-Q]\d\d$`).MatchString(id) {
			continue
		}
		if _, twice := rows[id]; twice {
			t.Errorf("%s has two lines", id)
		}
		r := row{words: strings.TrimSpace(cells[1]), state: strings.TrimSpace(cells[2])}
		for f := range strings.SplitSeq(cells[3], ";") {
			if f = strings.TrimSpace(f); f != "" {
				r.finds = append(r.finds, f)
			}
		}
		rows[id] = r
	}
	return rows
}

// TestKills compares docs/kills.md with the cases and the broken agents.
func TestKills(t *testing.T) {
	rows := kills(t)
	if len(rows) != 132 {
		t.Errorf("%d ids, the catalogue has 132", len(rows))
	}
	found := map[string][]string{}
	for _, m := range mutants() {
		found[m.kills] = append(found[m.kills], m.name)
	}
	built := map[string]conformance.Case{}
	for _, c := range conformance.Cases() {
		built[c.ID] = c
		if r := rows[c.ID]; r.state != "built" || r.words != strings.ReplaceAll(c.Words, "_", " ") {
			t.Errorf("%s is built as %q, its line says %q, %q", c.ID, c.Words, r.words, r.state)
		}
	}
	for id, r := range rows {
		if got := found[id]; !slices.Equal(sorted(got), sorted(r.finds)) {
			t.Errorf("%s finds %q, its line says %q", id, got, r.finds)
		}
		_, is := built[id]
		if !is && !strings.HasPrefix(r.state, "not built yet: needs ") && !strings.HasPrefix(r.state, "left out: ") {
			t.Errorf("%s is not built, its line says %q", id, r.state)
		}
		if is && len(r.finds) == 0 {
			t.Errorf("%s finds nothing", id)
		}
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// TestClauses holds each case to a sentence of the contract.
func TestClauses(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "core", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var contract strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if _, comment, ok := strings.Cut(line, "//"); ok {
				contract.WriteString(comment)
			}
		}
	}
	plain := strings.Join(strings.Fields(contract.String()), " ")
	for _, c := range conformance.Cases() {
		if !strings.Contains(plain, c.Clause) {
			t.Errorf("%s: no sentence of core says %q", c.ID, c.Clause)
		}
	}
}

// compare holds what people read of the broken agents to a golden file.
func compare(t *testing.T, all string) {
	t.Helper()
	golden := filepath.Join("testdata", "kills.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(all), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if all != string(want) {
		t.Errorf("the messages are not those of %s (-update writes it):\n%s", golden, firstDifference(all, string(want)))
	}
}

// steady replaces what is drawn anew in each run, and where code lies.
func steady(message string) string {
	message = regexp.MustCompile(`\bc[0-9a-f]{8}-[a-z]\d\d-\d+`).ReplaceAllString(message, "NAMESPACE")
	message = regexp.MustCompile(`[0-9a-f]{16}\b`).ReplaceAllString(message, "TOKEN")
	return regexp.MustCompile(`(?s)(observed  panic: [^\n]*\n).*?\n(  why )`).ReplaceAllString(message, "$1$2")
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			return fmt.Sprintf("line %d\n got %s\nwant %s", i+1, g[i], strings.Join(w[min(i, len(w)):min(i+1, len(w))], ""))
		}
	}
	return fmt.Sprintf("it ends %d lines early", len(w)-len(g))
}
