package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
)

// FuzzParse: whatever a file holds, it is read or refused with core.ErrInvalid, at
// a place that is in it; what is read is accepted by the schema, and checks.
func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add(config.Example())
	for _, w := range wrongs {
		if len(w.yaml) < 1000 {
			f.Add([]byte(w.yaml))
		}
	}
	schema := compiled(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := kinds().Parse("offsite.yaml", data)
		if err != nil {
			refused(t, data, err)
			return
		}
		v, err := instance(data)
		if err != nil {
			t.Fatalf("is read, and cannot be: %v", err)
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("is read, and refused by the schema: %v", err)
		}
		if len(file.Agents) == 0 {
			t.Error("is read, and has no agents")
		}
	})
}

func refused(t *testing.T, data []byte, err error) {
	es := config.Errors(nil)
	if !errors.As(err, &es) || len(es) == 0 || !errors.Is(err, core.ErrInvalid) {
		t.Fatalf("refused with %v", err)
	}
	lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 2
	for _, e := range es {
		if e.Line > lines || e.Line < 0 || (e.Column < 1) != (e.Line < 1) || e.Text == "" || strings.Contains(e.Text, "%!") {
			t.Errorf("%+v of %d lines", e, lines)
		}
	}
}

// FuzzSecret: what is written where a reference to a secret should stand is never
// repeated, whatever stands around it in its line.
func FuzzSecret(f *testing.F) {
	for _, around := range [][2]string{{"", ""}, {"*", ""}, {"&a ", ""}, {"!!int ", ""}, {"{", "}"}, {"{env: $", "}"}, {"{file: ", "}"}, {"{command: ", "}"}, {"{a: {b: [", ": c"}, {"\"", "\\q\""}, {"'", "' x"}, {"|", ""}, {"? ", " : x"}, {"%", ""}, {"x: ", ": y"}, {"{x: 1, x: ", "}"}} {
		f.Add(around[0], around[1])
	}
	const canary = "xyzzy-plugh"
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.ContainsAny(before+after, "\r\n") {
			return
		}
		_, err := kinds().Parse("offsite.yaml", []byte("agents:\n  b:\n    box:\n      key: "+before+canary+after+"\n"))
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%v", err)
		}
	})
}
