package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"

	"github.com/offsite-backup/offsite/config"
)

// compiled is the schema of kinds, which is itself checked against that of schemas.
func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(kinds().Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("offsite.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("offsite.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance is YAML as a program with a JSON schema sees it: by the rules of YAML
// 1.2, where a date is text.
func instance(data []byte) (any, error) {
	var n yaml.Node
	if err := yaml.Load(data, &n); err != nil {
		return nil, err
	}
	untime(&n)
	var v any
	if err := n.Load(&v); err != nil {
		return nil, err
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(text))
}

func untime(n *yaml.Node) {
	if n.Tag == "!!timestamp" || n.Tag == "!!merge" {
		n.Tag = "!!str"
	}
	for _, c := range n.Content {
		untime(c)
	}
}

func TestSchemaAccepts(t *testing.T) {
	s := compiled(t)
	for _, text := range []string{full, string(config.Example()), "agents: {disk: {local: {dir: /srv/backups}}}"} {
		v, err := instance([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

func TestSchemaRejects(t *testing.T) {
	s := compiled(t)
	for _, w := range wrongs {
		v, err := instance([]byte(w.yaml))
		if err != nil {
			if w.schema {
				t.Errorf("%s: %v", w.name, err)
			}
			continue
		}
		if err := s.Validate(v); (err != nil) != w.schema {
			t.Errorf("%s: %v", w.name, err)
		}
	}
}

func TestSchemaIsTheSameEachTime(t *testing.T) {
	if a, b := kinds().Schema(), kinds().Schema(); !bytes.Equal(a, b) {
		t.Error("two schemas of the same kinds differ")
	}
}

// TestSchemaAcceptsWhatLoads: whatever Parse takes, the schema takes, so that no
// editor complains of what works.
func TestSchemaAcceptsWhatLoads(t *testing.T) {
	s, loaded := compiled(t), 0
	rapid.Check(t, func(t *rapid.T) {
		text := draw(t)
		if _, err := kinds().Parse("offsite.yaml", []byte(text)); err != nil {
			return
		}
		loaded++
		v, err := instance([]byte(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	})
	if loaded < 10 {
		t.Errorf("only %d of those drawn were right", loaded)
	}
}

// draw writes a configuration with one agent whose options are drawn, right ones
// more often than wrong ones.
func draw(t *rapid.T) string {
	text := rapid.OneOf(rapid.SampledFrom([]string{"a", "/b", "\"1\"", "2024-01-01", "''", "no"}), rapid.StringMatching(`[a-z/$"'.]{1,4}`))
	number := rapid.OneOf(rapid.SampledFrom([]string{"1", "22", "0", "1.0", "+1", "0x1", "1e3", "1_0"}), rapid.StringMatching(`[1-9][0-9]{0,4}`))
	size := rapid.OneOf(number, rapid.StringMatching(`[0-9]{1,3}(B|KiB|MiB|GiB|TiB|kB|M)?`))
	duration := rapid.StringMatching(`([0-9]{1,3}(ms|s|m|h|d)){1,3}`)
	secret := rapid.OneOf(rapid.SampledFrom([]string{"{env: A}", "{file: /a}", "{file: a}", "{command: [a, b]}", "{command: []}"}), text)
	list := rapid.Map(rapid.SliceOfN(text, 0, 3), func(all []string) string { return "[" + strings.Join(all, ", ") + "]" })
	options := map[string]*rapid.Generator[string]{
		"host": text, "dir": rapid.OneOf(rapid.Just("/d"), text), "port": number, "part_size": size,
		"keep_alive": duration, "key": secret, "verify": rapid.SampledFrom([]string{"true", "False", "yes", "1"}),
		"known_hosts": list, "args": list,
		"labels": rapid.Map(text, func(s string) string { return "{x: " + s + "}" }),
		"vars":   rapid.Map(secret, func(s string) string { return "{x: " + s + "}" }),
		"tls":    rapid.Map(text, func(s string) string { return "{min_version: " + s + "}" }),
	}
	var b strings.Builder
	b.WriteString("agents:\n  a:\n    box:\n      strict: true\n")
	for name, value := range options {
		if rapid.IntRange(0, 3).Draw(t, name) == 0 {
			fmt.Fprintf(&b, "      %s: %s\n", name, value.Draw(t, name))
		}
	}
	fmt.Fprintf(&b, "    %s: %s\n", rapid.SampledFrom([]string{"stall", "retry", "total"}).Draw(t, "patience"), duration.Draw(t, "time"))
	return b.String()
}
