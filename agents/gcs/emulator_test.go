package gcs

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/conformance/emulator"
)

// emulated is the other server of this package's tests.
var emulated = emulator.Shared[*emulator.FakeGCSServer]{Start: emulator.StartFakeGCSServer}

// TestEmulator runs the suite's short level on fake-gcs-server. Cases that it cannot
// show are listed in testdata, with its version and why: those do not pass, and all
// others do.
func TestEmulator(t *testing.T) {
	server := emulated.Get(t)
	bucket, err := server.MakeBucket(t.Context(), bucketFor(t))
	if err != nil {
		t.Fatal(err)
	}
	known := inconclusive(t, "testdata/fake-gcs-server-"+emulator.FakeGCSServerVersion+".txt")
	target := suiteChild{URL: server.URL(), Bucket: bucket.Name, Upload: uploadParts}.target()
	target.Raw, target.Short = bucket, true
	target.Lacks[conformance.MeansCrash] = "processes are killed at the other server"
	target.Lacks[conformance.MeansSecrets] = "the server knows no credentials"
	for _, c := range conformance.Check(context.WithoutCancel(t.Context()), target).Cases {
		why, listed := known[c.ID]
		delete(known, c.ID)
		switch {
		case listed && c.Status == conformance.Pass && passesAgain(t, target, c.ID):
			t.Errorf("%s passes, and is listed because: %s", c.ID, why)
		case !listed && c.Status != conformance.Pass && c.Status != conformance.NotApplicable:
			t.Errorf("%s is not listed, and does not pass:\n%s", c.ID, c.Message)
		}
	}
	if left := slices.Sorted(maps.Keys(known)); len(left) > 0 {
		t.Errorf("listed, and no cases: %q", left)
	}
}

// passesAgain says whether a case passes however often it is tried: a race may have
// ended well by chance.
func passesAgain(t *testing.T, target conformance.Target, id string) bool {
	target.Select = func(c conformance.Case) bool { return c.ID == id }
	for range 5 {
		if !conformance.Check(context.WithoutCancel(t.Context()), target).OK() {
			return false
		}
	}
	return true
}

// inconclusive reads lines of "ID why".
func inconclusive(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if id, why, ok := strings.Cut(strings.TrimSpace(line), " "); ok && !strings.HasPrefix(line, "#") {
			all[id] = why
		}
	}
	return all
}
