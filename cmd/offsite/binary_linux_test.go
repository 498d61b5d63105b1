package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/internal/treediff"
)

// offsite is the program as people get it, built once for all tests of it.
var offsite string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "offsite-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		offsite = filepath.Join(dir, "offsite")
		if out, err := exec.Command("go", "build", "-o", offsite, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// A host is a folder with a state folder of its own, in which commands run.
type host struct {
	*testing.T
	dir string
	env []string // more of it
}

func newHost(t *testing.T) *host { return &host{T: t, dir: t.TempDir()} }

func (h *host) at(elem ...string) string {
	return filepath.Join(append([]string{h.dir}, elem...)...)
}

func (h *host) command(args ...string) *exec.Cmd {
	cmd := exec.Command(offsite, args...)
	cmd.Dir = h.dir
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+h.at("state"), "XDG_CACHE_HOME="+h.at("cache"))
	cmd.Env = append(cmd.Env, h.env...)
	return cmd
}

// run runs a command that must end with a code, and returns what it prints.
func (h *host) run(code int, args ...string) string {
	h.Helper()
	cmd := h.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		h.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		h.Fatalf("offsite %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, code, out.Bytes(), errs.Bytes())
	}
	return out.String()
}

// ids are those of the backups that a place lists.
func (h *host) ids(from string) (ids []string) {
	h.Helper()
	for line := range strings.Lines(h.run(0, "list", "--json", "--from", from)) {
		var row struct {
			ID     string
			Agents map[string]string
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			h.Fatalf("%q: %v", line, err)
		}
		for agent, state := range row.Agents {
			if state != "stored" {
				h.Errorf("%s is %s at %s", row.ID, state, agent)
			}
		}
		ids = append(ids, row.ID)
	}
	return ids
}

func (h *host) same(want, got string) {
	h.Helper()
	diff, err := treediff.Diff(want, got)
	if err != nil || len(diff) > 0 {
		h.Errorf("%s is not as %s: %v\n%s", got, want, err, strings.Join(diff[:min(20, len(diff))], "\n"))
	}
}

func (h *host) write(path string, content []byte) {
	h.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		h.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		h.Fatal(err)
	}
}

// noise is content that does not compress.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1}).Read(b)
	return b
}
