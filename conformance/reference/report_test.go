package reference

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

func only(ids ...string) func(conformance.Case) bool {
	return func(c conformance.Case) bool { return slices.Contains(ids, c.ID) }
}

// TestFaultsThatDoNotFire shows that a case which could not try what it is about
// does not pass.
func TestFaultsThatDoNotFire(t *testing.T) {
	target := new(Place).Target()
	open := target.Open
	target.OpenFaulty = func(ctx context.Context, ns conformance.Namespace, env core.Env, _ conformance.Gate) (core.Agent, error) {
		return open(ctx, ns, env)
	}
	target.Select = only("C12", "C13", "E04", "E05", "F02")
	report := conformance.Check(t.Context(), target)
	if len(report.Cases) != 5 || report.OK() {
		t.Errorf("%d cases, passed: %v", len(report.Cases), report.OK())
	}
	for _, r := range report.Cases {
		if r.Status == conformance.Pass || r.Message == "" {
			t.Errorf("%s: %s, %q", r.ID, r.Status, r.Message)
		}
	}
}

// TestLacks shows that what is not given does not pass, and what is declared is
// reported with its reason.
func TestLacks(t *testing.T) {
	for _, c := range []struct {
		lacks  map[conformance.Means]string
		want   conformance.Status
		reason string
	}{
		{nil, conformance.Inconclusive, "raw: not given"},
		{map[conformance.Means]string{conformance.MeansRaw: "a bucket of somebody else"}, conformance.NotApplicable, "raw: a bucket of somebody else"},
	} {
		target := new(Place).Target()
		target.Raw, target.Lacks, target.Select = nil, c.lacks, only("D01", "Q04")
		report := conformance.Check(t.Context(), target)
		if got := report.Cases[0]; got.Status != c.want || got.Reason != c.reason {
			t.Errorf("%s: %s, want %s: %s", got.Status, got.Reason, c.want, c.reason)
		}
		if ok := report.OK(); ok != (c.want == conformance.NotApplicable) {
			t.Errorf("%v: the report is ok: %v", c.lacks, ok)
		}
	}
}

// TestReport shows what a report has for machines.
func TestReport(t *testing.T) {
	target := new(Place).Target()
	target.Select, target.Seed, target.Short = only("A01", "A02", "C06"), 42, true
	report := conformance.Check(t.Context(), target)
	text, err := report.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var read map[string]any
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if read["schema"] != conformance.ReportSchema || read["seed"] != "42" || !report.OK() || report.Totals.Pass != 2 {
		t.Errorf("a short run of three cases, of which one is long:\n%s", text)
	}
	if !strings.Contains(string(text), `"id": "A01"`) {
		t.Errorf("no case in the report:\n%s", text)
	}
}

// TestEndedContext shows that a run ends with its context.
func TestEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if report := conformance.Check(ctx, new(Place).Target()); len(report.Cases) != 0 || report.OK() {
		t.Errorf("%d cases ran", len(report.Cases))
	}
}
