package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// libraries are what the agents link besides themselves, by the beginning of a path.
var libraries = map[string]string{
	"azure": "github.com/Azure/",
	"gcs":   "cloud.google.com/go/storage",
	"s3":    "github.com/aws/",
	"sftp":  "github.com/pkg/sftp",
}

// A build with a choice of agents links those, and nothing of the others.
func TestSlim(t *testing.T) {
	files, err := filepath.Glob("agent_*.go")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		agent := strings.TrimSuffix(strings.TrimPrefix(file, "agent_"), ".go")
		t.Run(agent, func(t *testing.T) {
			linked := deps(t, "slim,agent_"+agent)
			if !strings.Contains(linked, "/agents/"+agent+"\n") || strings.Count(linked, "/offsite/agents/") != 1 {
				t.Errorf("agents other than %s are linked, or not it", agent)
			}
			for other, library := range libraries {
				if has := strings.Contains(linked, "\n"+library); has != (other == agent) {
					t.Errorf("%s is linked: %v", library, has)
				}
			}
		})
	}
	t.Run("all", func(t *testing.T) {
		if n := strings.Count(deps(t, ""), "/offsite/agents/"); n != len(files) {
			t.Errorf("%d agents are linked, want %d", n, len(files))
		}
	})
}

// deps are the packages that a build with these tags links, one a line.
func deps(t *testing.T, tags string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", tags, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
