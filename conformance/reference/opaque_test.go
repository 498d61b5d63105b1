package reference

import (
	"context"
	"slices"
	"testing"

	"github.com/offsite-backup/offsite/conformance"
)

// opaque are the cases that are tried where the suite does not understand the protocol,
// each with a broken agent that it finds all the same.
var opaque = map[string]string{
	"F03": "takes its time with a place that never answered",
	"G02": "ignores its context",
	"G04": "a connection for each failure",
	"G05": "reads to the end what nobody wants",
	"J02": "takes a reset for the end",
	"J03": "takes its own commit for another's",
	"J04": "waits for ever where nothing moves",
	"J05": "a fixed time for each request",
	"J06": "waits for a head for ever",
	"J08": "a dial that fails is no kind of error",
	"K01": "begins anew",
	"Q02": "goes to its server past the proxy",
}

// TestOpaque shows that the reference passes them, and that nothing else on the wire
// is tried.
func TestOpaque(t *testing.T) {
	place := new(Place)
	target := served(t, place, place.do)
	target.Wire = &conformance.Wire{Server: target.Wire.Server, Open: target.Wire.Open, Opaque: true}
	target.Select = func(c conformance.Case) bool { return slices.Contains(c.Needs, conformance.MeansWire) }
	for _, r := range conformance.Check(context.Background(), target).Cases {
		want := conformance.NotApplicable
		if opaque[r.ID] != "" {
			want = conformance.Pass
		}
		if r.Status != want {
			t.Errorf("%s: %s, want %s\n%s", r.ID, r.Status, want, r.Message)
		}
	}
}

// TestOpaqueMutants shows that each of them finds a broken agent.
func TestOpaqueMutants(t *testing.T) {
	for id, name := range opaque {
		t.Run(id, func(t *testing.T) {
			i := slices.IndexFunc(mutants(), func(m mutant) bool { return m.name == name })
			if i < 0 {
				t.Fatalf("no broken agent %s", name)
			}
			m := mutants()[i]
			m.opaque = true
			report := m.check(t, func(c conformance.Case) bool { return c.ID == id })
			if got := report.Cases[0]; got.Status != conformance.Fail {
				t.Errorf("%s is not found: %s\n%s", name, got.Status, got.Message)
			}
		})
	}
}
