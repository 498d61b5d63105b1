package prove

import (
	"testing"

	"github.com/offsite-backup/offsite/core"
)

// Examined is what an agent finds at its place, by what was looked at.
func Examined(t testing.TB, a core.Agent) map[string]core.Finding {
	t.Helper()
	found := map[string]core.Finding{}
	for f, err := range a.(core.Examiner).Examine(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if f.Verdict != core.VerdictOK && f.Why == "" && f.Err == nil {
			t.Errorf("%s: %s, and nothing says why", f.What, f.Verdict)
		}
		found[f.What] = f
	}
	return found
}

// Found demands the verdicts of what was examined, by what was looked at, as "failed"
// or "failed s3:PutObject", and that all else is as it should be.
func Found(t testing.TB, found map[string]core.Finding, want map[string]string) {
	t.Helper()
	for what := range want {
		if _, ok := found[what]; !ok {
			t.Errorf("%s: nothing was said", what)
		}
	}
	for what, f := range found {
		got, wanted := string(f.Verdict), want[what]
		if f.Right != "" {
			got += " " + f.Right
		}
		if wanted == "" {
			wanted = string(core.VerdictOK)
		}
		if got != wanted {
			t.Errorf("%s: %s, want %s (%s %v)", what, got, wanted, f.Why, f.Err)
		}
	}
}
