package disk

import (
	"path/filepath"
	"runtime"
	"testing"

	"github.com/offsite-backup/offsite/core"
)

// TestOf asks the file system that tests run on.
func TestOf(t *testing.T) {
	s, err := Of(t.TempDir())
	if err != nil || s.Size <= 0 || s.Free < 0 || s.Free > s.Size {
		t.Errorf("%+v, %v", s, err)
	}
	if runtime.GOOS == "linux" {
		if s, err = Of("/dev/full"); err != nil {
			t.Errorf("%+v, %v", s, err)
		}
	}
	if s, err := Of(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Errorf("what is not there has %+v", s)
	}
}

// TestFinding warns where what is left to others is touched.
func TestFinding(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for s, want := range map[Space]core.Verdict{
		{}:                     core.VerdictOK,
		{1 << 40, 256 * mib}:   core.VerdictOK,
		{1 << 40, 256*mib - 1}: core.VerdictWarning,
		{100 * mib, 5 * mib}:   core.VerdictOK,
		{100 * mib, 5*mib - 1}: core.VerdictWarning,
		{10 * gib, 0}:          core.VerdictWarning,
		{1 << 40, 1 << 40}:     core.VerdictOK,
	} {
		if f := s.Finding(); f.Verdict != want || f.What != "space" || f.Why == "" || (f.Do != "") != (want == core.VerdictWarning) {
			t.Errorf("%+v: %+v, want %s", s, f, want)
		}
	}
}
