package cli

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/offsite-backup/offsite/agents/local"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"offsite":        func() { Main(local.Kind()) },
		"offsite-faulty": func() { Main(local.Kind(), faultyKind()) },
	})
}

// The scripts in testdata are what a person types, and what comes of it. Besides
// the commands of testscript they have:
//
//	exits CODE PROGRAM…   runs it and compares its exit code
//	id VAR DIR            sets VAR to the newest id of the place DIR
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
			"exits": exits,
			"id":    newestID,
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
	entries, err := os.ReadDir(ts.MkAbs(args[1] + "/meta"))
	ts.Check(err)
	if len(entries) == 0 {
		ts.Fatalf("no backup in %s", args[1])
	}
	ts.Setenv(args[0], strings.TrimSuffix(entries[len(entries)-1].Name(), ".json"))
}
