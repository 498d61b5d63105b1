package emulator

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// TestVersions compares the versions that make builds with those that are started.
func TestVersions(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for name, version := range map[string]string{"MINIO": minioVersion, "AZURITE": azuriteVersion, "FAKE_GCS_SERVER": FakeGCSServerVersion} {
		if line := "\n" + name + "_VERSION := " + version + "\n"; !strings.Contains(string(makefile), line) {
			t.Errorf("the Makefile does not say %q", line)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, err := StartMinIO(t.Context(), t.TempDir()); !errors.Is(err, ErrMissing) {
		t.Errorf("%v, want %v", err, ErrMissing)
	}
}
