package config_test

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/config"
)

// hidden is an option of the example that is not in use.
var hidden = regexp.MustCompile(`(?m)^( *)#(\S)`)

func TestExampleLoads(t *testing.T) {
	for name, text := range map[string]string{
		"as it is":        string(config.Example()),
		"with everything": hidden.ReplaceAllString(string(config.Example()), "$1$2"),
	} {
		f, err := kinds().Parse("offsite.yaml", []byte(text))
		if err != nil {
			t.Errorf("%s:\n%v", name, err)
			continue
		}
		if j, err := f.Job("web1"); err != nil || len(j.To) != 2 || len(j.Hooks) < 2 {
			t.Errorf("%s: %+v, %v", name, j, err)
		}
	}
	if text := string(config.Example()); !hidden.MatchString(text) {
		t.Error("nothing is hidden in the example")
	}
}

// TestExampleExplains: each option that is not of a kind stands in the example, and
// the line above it explains it.
func TestExampleExplains(t *testing.T) {
	var s struct {
		Properties map[string]any `json:"properties"`
		Defs       map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(config.Kinds{}.Schema(), &s); err != nil {
		t.Fatal(err)
	}
	all := slices.Collect(maps.Keys(s.Properties))
	for _, def := range []string{"agent", "job", "hook"} {
		all = slices.AppendSeq(all, maps.Keys(s.Defs[def].Properties))
	}
	if len(all) < 15 {
		t.Fatalf("only %q", all)
	}
	lines := strings.Split(string(config.Example()), "\n")
	for _, name := range all {
		if name == "name" {
			continue // of a hook, which explains what it does
		}
		at := slices.IndexFunc(lines, func(line string) bool {
			return strings.HasPrefix(strings.TrimLeft(line, " #-"), name+":") && !strings.HasPrefix(strings.TrimSpace(line), "# ")
		})
		if at < 1 || !strings.HasPrefix(strings.TrimSpace(lines[at-1]), "# ") {
			t.Errorf("%s is not explained", name)
		}
	}
}

func TestExampleIsACopy(t *testing.T) {
	config.Example()[0] = 'x'
	if config.Example()[0] != '#' {
		t.Error("whoever writes into the example writes into that of all")
	}
}
