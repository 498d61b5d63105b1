package reference

import (
	"context"
	"slices"
	"testing"

	"github.com/offsite-backup/offsite/conformance"
)

// mutantSeed keeps the messages the same from run to run.
const mutantSeed = 7

func mutants() []mutant {
	return slices.Concat(brokenBasics(), brokenMetadata(), brokenUploads(), brokenPlaces(), brokenReads(), brokenLists(), brokenCalls())
}

// check runs some cases against a mutant.
func (m mutant) check(t *testing.T, selected func(conformance.Case) bool) conformance.Report {
	t.Helper()
	place := new(Place)
	ending := make(chan struct{})
	t.Cleanup(func() { close(ending) })
	r := &rig{ending: ending}
	m.with(r)
	agentAsk := transport(place.do)
	if r.ask != nil {
		agentAsk = r.ask(place.do)
	}
	whole := served(t, place.do)
	if r.ask != nil { // a child is as broken as its parent
		whole.Crash = served(t, agentAsk).Crash
	}
	broken := r.target(place.do, whole)
	broken.Select, broken.Seed = selected, mutantSeed
	return conformance.Check(context.Background(), broken)
}

// TestMutants shows that every broken agent is found by the case that is there
// for it.
func TestMutants(t *testing.T) {
	for _, m := range mutants() {
		t.Run(m.kills+"_"+m.name, func(t *testing.T) {
			report := m.check(t, func(c conformance.Case) bool { return c.ID == m.kills })
			if len(report.Cases) != 1 {
				t.Fatalf("no case %s", m.kills)
			}
			if got := report.Cases[0]; got.Status != conformance.Fail {
				t.Errorf("%s: %s %s\n%s", got.ID, got.Status, got.Reason, got.Message)
			}
		})
	}
}

// TestEveryCaseKills shows that no case is there for nothing.
func TestEveryCaseKills(t *testing.T) {
	killers := map[string]bool{}
	for _, m := range mutants() {
		killers[m.kills] = true
	}
	for _, c := range conformance.Cases() {
		if !killers[c.ID] {
			t.Errorf("no broken agent is there for %s", c.Name())
		}
	}
}
