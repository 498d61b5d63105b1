package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

const afterConfig = `agents:
  disk: {local: %[1]s/copies}
  far: {s3: {bucket: tests, prefix: app, region: us-east-1, endpoint: "http://127.0.0.1:1"}, retry: 1s}
jobs:
  web1:
    paths: [%[1]s/app]
    hooks:
      - {name: check, command: {pre: [sh, -c, %[2]q]}}
      - {name: tell, command: {after: [%[1]s/bin/notify]}}
    to: [%[3]s]
    copies: %[4]d
`

// A standing is what is told of one agent. Error is a pattern where it is wanted.
type standing struct{ Name, State, Error string }

// TestNotification is told by its standard input and its environment how a run went
// and how each agent stands to it. How the notification goes changes nothing.
func TestNotification(t *testing.T) {
	const (
		good = "true"
		bad  = "echo the queue is not empty; exit 7"
		why  = `hook check: pre: sh: exit status 7; it printed:\n    the queue is not empty`
		away = `far: upload: ID: unavailable: .*127\.0\.0\.1:1: .*connection refused`
	)
	stored, pending := standing{"disk", "stored", ""}, standing{"far", "pending", away}
	for name, c := range map[string]struct {
		pre     string
		to      string
		copies  int
		notify  int // the exit code of the notification
		code    int
		outcome string
		error   string // a pattern
		agents  []standing
	}{
		"ok":         {good, "disk", 1, 0, 0, "ok", "", []standing{stored}},
		"degraded":   {good, "disk, far", 1, 0, 3, "degraded", away, []standing{stored, pending}},
		"failed":     {good, "far, disk", 2, 0, 1, "failed", away, []standing{pending, stored}},
		"not packed": {bad, "disk", 1, 0, 1, "failed", why, []standing{{"disk", "skipped", ""}}},
		"not heard":  {good, "disk", 1, 9, 0, "ok", "", []standing{stored}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.env = []string{"AWS_ACCESS_KEY_ID=nobody", "AWS_SECRET_ACCESS_KEY=nobody"}
			h.write(h.at("app", "notes"), []byte("a note"))
			h.program("notify", fmt.Sprintf(`cd %s && cat >told.json && env >told.env; echo nobody hears; exit %d`, h.dir, c.notify))
			h.write(h.at("offsite.yaml"), fmt.Appendf(nil, afterConfig, h.dir, c.pre, c.to, c.copies))
			cmd := h.command("run", "web1")
			said, _ := cmd.CombinedOutput() // the code says it
			if got := cmd.ProcessState.ExitCode(); got != c.code {
				t.Errorf("exit %d, want %d\n%s", got, c.code, said)
			}
			if got, want := strings.Count(string(said), "nobody hears"), min(c.notify, 1); got != want {
				t.Errorf("what the notification printed is shown %d times, want %d:\n%s", got, want, said)
			}
			n := h.notice()
			if n.V != 1 || n.ID == "" || n.Job != "web1" || n.Phase != "after" || n.Hook != "tell" || n.Outcome != c.outcome || !n.like(c.error, n.Error) {
				t.Errorf("told %+v", n)
			}
			if len(n.Agents) != len(c.agents) {
				t.Fatalf("told of the agents %+v, want %+v", n.Agents, c.agents)
			}
			var lines []string
			for i, a := range n.Agents {
				if a.Name != c.agents[i].Name || a.State != c.agents[i].State || !n.like(c.agents[i].Error, a.Error) {
					t.Errorf("told of the agents %+v, want %+v", n.Agents, c.agents)
				}
				line := a.Name + ": " + a.State
				if a.Error != "" {
					line += ": " + strings.Join(strings.Fields(a.Error), " ")
				}
				lines = append(lines, line)
			}
			h.environment(n, strings.Join(lines, "\n"))
			if c.pre == good {
				h.metadata(n)
			}
		})
	}
}

// TestNotificationOfNothing is told that what is to be backed up is not there, as of a
// disk that is not mounted.
func TestNotificationOfNothing(t *testing.T) {
	h := newHost(t)
	h.program("notify", fmt.Sprintf("cat >%s/told.json", h.dir))
	h.write(h.at("offsite.yaml"), fmt.Appendf(nil, afterConfig, h.dir, "true", "disk", 1))
	h.run(1, "run", "web1")
	if n := h.notice(); n.Outcome != "failed" || !strings.Contains(n.Error, "no such file") || len(n.Agents) > 0 {
		t.Errorf("told %+v", n)
	}
}

// A notice is what a notification reads.
type notice struct {
	V       int
	ID      string
	Job     string
	Phase   string
	Hook    string
	Outcome string
	Error   string
	Agents  []standing
	Backup  json.RawMessage
}

func (h *host) notice() (n notice) {
	h.Helper()
	doc, err := os.ReadFile(h.at("told.json"))
	if err == nil {
		err = json.Unmarshal(doc, &n)
	}
	if err != nil {
		h.Fatalf("%q: %v", doc, err)
	}
	return n
}

// like says whether a text is as a pattern, in which ID is that of the run.
func (n notice) like(pattern, text string) bool {
	return regexp.MustCompile("^" + strings.ReplaceAll(pattern, "ID", n.ID) + "$").MatchString(text)
}

// environment compares the environment of a notification with what it reads.
func (h *host) environment(n notice, agents string) {
	h.Helper()
	env, err := os.ReadFile(h.at("told.env"))
	if err != nil {
		h.Fatal(err)
	}
	want := map[string]string{"ID": n.ID, "JOB": n.Job, "PHASE": n.Phase, "HOOK": n.Hook, "OUTCOME": n.Outcome, "ERROR": n.Error, "AGENTS": agents}
	for name, value := range want {
		line := "\nOFFSITE_" + name + "=" + value + "\n"
		if has := strings.Contains("\n"+string(env), line); has != (value != "") {
			h.Errorf("%q is in its environment: %v", line, has)
		}
	}
}

// metadata compares the backup that a notification is told of with the one that is
// stored.
func (h *host) metadata(n notice) {
	h.Helper()
	doc, err := os.ReadFile(h.at("copies", "meta", n.ID+".json"))
	if err != nil {
		h.Fatal(err)
	}
	var told, is any
	if err := errors.Join(json.Unmarshal(n.Backup, &told), json.Unmarshal(doc, &is)); err != nil {
		h.Fatal(err)
	}
	if !reflect.DeepEqual(told, is) {
		h.Errorf("told of the backup\n%s\nwhich is\n%s", n.Backup, doc)
	}
}
