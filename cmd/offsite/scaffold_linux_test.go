package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// source is a copy of the source of this module, as it is now.
func source(t *testing.T) string {
	t.Helper()
	const root = "../.."
	dir := t.TempDir()
	err := filepath.WalkDir(root, func(from string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(from, root), "/")
		to := filepath.Join(dir, name)
		switch {
		case strings.HasPrefix(name, "."):
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		case name == "offsite":
			return nil // what make builds
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// in runs a program in a folder. -trimpath makes Go's cache know packages again in
// another folder.
func in(t *testing.T, dir string, words ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-trimpath -buildvcs=false")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func must(t *testing.T, dir string, words ...string) string {
	t.Helper()
	out, err := in(t, dir, words...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
	}
	return out
}

// hashes are the files below a folder.
func hashes(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	all := map[string][32]byte{}
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		all[strings.TrimPrefix(name, dir+"/")] = sha256.Sum256(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// arrows demands that what was written imports what it may.
func arrows(t *testing.T, dir string) {
	t.Helper()
	if out, err := in(t, dir, "go", "test", "./internal/arrows"); err != nil && (strings.Contains(out, "sixth") || !strings.Contains(out, "TestModule")) {
		t.Errorf("%v: %s", err, out)
	}
}

// A new agent builds at once, alone and with the others, and its suite says of case
// after case what is not written yet. No file that was there is touched.
func TestScaffoldAgent(t *testing.T) {
	dir := source(t)
	before := hashes(t, dir)
	said := must(t, dir, offsite, "scaffold", "agent", "sixth")
	after := hashes(t, dir)
	for name, hash := range after {
		if was, ok := before[name]; ok && was != hash || !ok && !strings.Contains(said, "wrote "+name+"\n") {
			t.Errorf("%s is another, or not said", name)
		}
	}
	if len(after)-len(before) != strings.Count(said, "wrote ") {
		t.Errorf("%d files more, and said:\n%s", len(after)-len(before), said)
	}
	if out := must(t, dir, "gofmt", "-l", "agents/sixth", "cmd/offsite/agent_sixth.go"); out != "" {
		t.Errorf("not formatted: %s", out)
	}
	must(t, dir, "go", "vet", "./agents/sixth", "./cmd/offsite")
	arrows(t, dir)
	must(t, dir, "make", "build", "AGENTS=sixth")
	if out := must(t, dir, "./offsite", "agents"); !strings.HasPrefix(out, "sixth ") || strings.Count(out, "\n") != 1 {
		t.Errorf("linked are\n%s", out)
	}
	if out, err := in(t, dir, "./offsite", "list", "--from", "sixth://bucket/prefix"); err == nil || !strings.Contains(out, "unsupported: List is not written yet") {
		t.Errorf("list: %v, %s", err, out)
	}
	unwritten(t, suite(t, dir, "./agents/sixth"))
}

// A caseOf is how a test went, and what it said.
type caseOf struct {
	status string
	output strings.Builder
}

func (c *caseOf) String() string {
	if c == nil {
		return "there is no such case"
	}
	return c.status + "\n" + c.output.String()
}

// suite runs the tests of a package, short ones, which must not pass.
func suite(t *testing.T, dir, pkg string) map[string]*caseOf {
	t.Helper()
	out, err := in(t, dir, "go", "test", "-short", "-json", pkg)
	if err == nil {
		t.Fatal("passed")
	}
	all := map[string]*caseOf{}
	lines := bufio.NewScanner(bytes.NewReader([]byte(out)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "{") {
			continue // of the go command itself
		}
		var e struct{ Action, Test, Output string }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		c := all[e.Test]
		if c == nil {
			c = new(caseOf)
			all[e.Test] = c
		}
		c.output.WriteString(e.Output)
		if e.Action == "pass" || e.Action == "fail" || e.Action == "skip" {
			c.status = e.Action
		}
	}
	return all
}

var panics = regexp.MustCompile(`(?m)^\s*(panic: |goroutine [0-9]+ \[)`)

// unwritten demands that cases fail because methods are not written, and for no other
// reason; and that what is written passes.
func unwritten(t *testing.T, all map[string]*caseOf) {
	t.Helper()
	told := 0
	for name, c := range all {
		if panics.MatchString(c.output.String()) {
			t.Errorf("%s panics:\n%s", name, &c.output)
		}
		if strings.Contains(c.output.String(), "unsupported: ") && strings.Contains(c.output.String(), " is not written yet: ") {
			told++
		}
	}
	for name, method := range map[string]string{
		"TestConformance/A01_empty":           "List",
		"TestConformance/A02_sizes":           "Stat",
		"TestConformance/A04_read_your_write": "List",
		"TestConformance/C10_attempt_race":    "Stat",
	} {
		if c := all[name]; c == nil || c.status != "fail" || !strings.Contains(c.output.String(), "unsupported: "+method+" is not written yet") {
			t.Errorf("%s does not say that %s is not written:\n%s", name, method, c)
		}
	}
	if told < 30 {
		t.Errorf("%d cases say what is not written", told)
	}
	for _, name := range []string{"TestURL", "TestWrongURL", "TestKinds"} {
		if c := all[name]; c == nil || c.status != "pass" {
			t.Errorf("%s: %s", name, c)
		}
	}
}

// A new hook builds at once, and its test says what is not written yet.
func TestScaffoldHook(t *testing.T) {
	dir := source(t)
	before := hashes(t, dir)
	must(t, dir, offsite, "scaffold", "hook", "sixth")
	after := hashes(t, dir)
	for name, hash := range before {
		if after[name] != hash {
			t.Errorf("%s is another", name)
		}
	}
	must(t, dir, "go", "vet", "./hooks/sixth", "./cmd/offsite")
	arrows(t, dir)
	all := suite(t, dir, "./hooks/sixth")
	if c := all["TestActions"]; c == nil || c.status != "fail" || !strings.Contains(c.output.String(), "pre: unsupported: pre is not written yet") {
		t.Errorf("TestActions: %s", c)
	}
	if c := all["TestInvalid"]; c == nil || c.status != "pass" {
		t.Errorf("TestInvalid: %s", c)
	}
	must(t, dir, "make", "build", "AGENTS=local")
	conf := filepath.Join(t.TempDir(), "offsite.yaml")
	text := "agents: {disk: {local: " + t.TempDir() + "}}\njobs:\n  a:\n    paths: [" + dir + "]\n    to: [disk]\n    hooks: [{name: h, sixth: {target: x}}]\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, dir, "./offsite", "config", "check", "--config", conf)
}
