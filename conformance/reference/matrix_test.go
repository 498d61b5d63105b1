//go:build matrix

package reference

import (
	"slices"
	"testing"

	"github.com/offsite-backup/offsite/conformance"
)

// TestMatrix shows that every broken agent passes what has nothing to do with how
// it is broken. Behind a network are only those tried that are broken there. It
// takes most of an hour, so it needs a tag, and -timeout.
func TestMatrix(t *testing.T) {
	wired := map[string]bool{}
	for _, c := range conformance.Cases() {
		wired[c.ID] = slices.Contains(c.Needs, conformance.MeansWire)
	}
	for _, m := range mutants() {
		t.Run(m.kills+"_"+m.name, func(t *testing.T) {
			failed := map[string]bool{}
			for _, r := range m.check(t, func(c conformance.Case) bool { return wired[m.kills] || !wired[c.ID] }).Cases {
				if r.Status == conformance.Pass || r.Status == conformance.NotApplicable {
					continue
				}
				failed[r.ID] = true
				if r.ID != m.kills && !slices.Contains(m.also, r.ID) {
					t.Errorf("%s fails too:\n%s", r.ID, r.Message)
				}
			}
			if !failed[m.kills] {
				t.Errorf("%s passes", m.kills)
			}
		})
	}
}
