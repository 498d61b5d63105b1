//go:build matrix

package reference

import (
	"slices"
	"testing"

	"github.com/offsite-backup/offsite/conformance"
)

// TestMatrix shows that every broken agent passes what has nothing to do with how
// it is broken. It takes minutes, so it needs a tag.
func TestMatrix(t *testing.T) {
	for _, m := range mutants() {
		t.Run(m.kills+"_"+m.name, func(t *testing.T) {
			failed := map[string]bool{}
			for _, r := range m.check(t, nil).Cases {
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
