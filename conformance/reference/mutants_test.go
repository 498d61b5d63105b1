package reference

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/conformance"
)

// mutantSeed keeps the messages the same from run to run.
const mutantSeed = 7

func mutants() []mutant {
	return slices.Concat(brokenBasics(), brokenMetadata(), brokenUploads(), brokenPlaces(), brokenReads(), brokenLists(), brokenCalls(),
		brokenWires(), brokenAnswers(), brokenFiles())
}

// check runs some cases against a mutant.
func (m mutant) check(t *testing.T, selected func(conformance.Case) bool) conformance.Report {
	t.Helper()
	place := new(Place)
	ending := make(chan struct{})
	t.Cleanup(func() { close(ending) })
	r := &rig{ending: ending}
	m.with(r)
	whole := served(t, place, place.do)
	whole.Crash = served(t, place, r.below(place.do)).Crash // a child is as broken as its parent
	broken := r.target(place, whole)
	broken.Wire.Opaque = m.opaque
	broken.Select, broken.Seed = selected, mutantSeed
	return conformance.Check(context.Background(), broken)
}

// TestMutants shows that every broken agent is found by the case that is there
// for it, and compares what people read of it with a golden file. Where goroutines
// race, only the case and its clause are the same each time.
func TestMutants(t *testing.T) {
	all := mutants()
	messages := make([]string, len(all))
	t.Cleanup(func() { // those that wait end after this function
		if !t.Failed() && !slices.Contains(messages, "") { // and not those of -run alone
			compare(t, strings.Join(messages, ""))
		}
	})
	for i, m := range all {
		t.Run(m.kills+"_"+m.name, func(t *testing.T) {
			if m.waits() {
				t.Parallel()
			}
			messages[i] = m.found(t)
		})
	}
}

// waits says whether the case spends its time with waiting, beside others. Those
// of leaks count what runs, and those of races are to race alone.
func (m mutant) waits() bool {
	return strings.ContainsAny(m.kills[:1], "FJ") && !m.racy || m.kills == "H06"
}

// found demands that the case finds the mutant, and returns its message.
func (m mutant) found(t *testing.T) string {
	report := m.check(t, func(c conformance.Case) bool { return c.ID == m.kills })
	if len(report.Cases) != 1 {
		t.Fatalf("no case %s", m.kills)
	}
	got := report.Cases[0]
	if got.Status != conformance.Fail {
		t.Fatalf("%s: %s %s\n%s", got.ID, got.Status, got.Reason, got.Message)
	}
	for _, part := range []string{"clause ", "expected ", "observed ", "why ", "again "} {
		if !strings.Contains(got.Message, "\n  "+part) {
			t.Errorf("its message has no %q:\n%s", part, got.Message)
		}
	}
	message := got.Message
	if m.racy {
		message = strings.Join(strings.SplitAfter(message, "\n")[:2], "")
	}
	return fmt.Sprintf("# %s\n%s\n", m.name, steady(message))
}

// TestEveryCaseKills shows that no case is there for nothing.
func TestEveryCaseKills(t *testing.T) {
	killers, cases := map[string]bool{}, map[string]bool{}
	for _, c := range conformance.Cases() {
		cases[c.ID] = true
	}
	for _, m := range mutants() {
		killers[m.kills] = true
		for _, id := range m.also {
			if !cases[id] || id == m.kills {
				t.Errorf("%s may fail too at %s, which is no other case", m.name, id)
			}
		}
	}
	for id := range cases {
		if !killers[id] {
			t.Errorf("no broken agent is there for %s", id)
		}
	}
}
