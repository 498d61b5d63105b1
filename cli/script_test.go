package cli

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/offsite-backup/offsite/agents/local"
	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/hooks/command"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"offsite":        func() { program(local.Kind()).Main() },
		"offsite-faulty": func() { program(local.Kind(), faultyKind()).Main() },
	})
}

// program links commands as hooks, and these agents.
func program(agents ...core.Kind) Program {
	return Program{Agents: agents, Hooks: []config.HookKind{command.Kind{Env: os.Environ()}}, End: command.End}
}

// The scripts in testdata are what a person types, and what comes of it. Besides
// the commands of testscript they have:
//
//	exits CODE PROGRAM…   runs it and compares its exit code
//	id VAR DIR            sets VAR to the newest id of the place DIR
//	expand FILE…          replaces WORK in files by the work directory
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir+"/home")
			env.Setenv("OFFSITE_STATE", env.WorkDir+"/state")
			env.Setenv("TERM", "xterm")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  exits,
			"id":     newestID,
			"expand": expand,
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, errors.New("unknown condition " + cond)
		},
	})
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s exited with %d, not %d", strings.Join(args[1:], " "), got, want)
	}
}

func newestID(ts *testscript.TestScript, _ bool, args []string) {
	docs, err := filepath.Glob(ts.MkAbs(args[1] + "/meta/*.json"))
	ts.Check(err)
	if len(docs) == 0 {
		ts.Fatalf("no backup in %s", args[1])
	}
	var newest struct {
		ID      string
		Created time.Time
	}
	for _, doc := range docs {
		b := newest
		text, err := os.ReadFile(doc)
		ts.Check(err)
		ts.Check(json.Unmarshal(text, &b))
		if b.Created.After(newest.Created) {
			newest = b
		}
	}
	ts.Setenv(args[0], newest.ID)
}

func expand(ts *testscript.TestScript, _ bool, args []string) {
	for _, arg := range args {
		path := ts.MkAbs(arg)
		text, err := os.ReadFile(path)
		ts.Check(err)
		ts.Check(os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "WORK", ts.Getenv("WORK"))), 0o600))
		ts.Check(os.Chmod(path, 0o600))
	}
}
