package local

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
	"github.com/offsite-backup/offsite/core/object"
	"github.com/offsite-backup/offsite/core/transfer"
)

// TestLocal proves the agent by the common suite.
func TestLocal(t *testing.T) {
	conformance.Run(t, target(conformance.Directory(t.TempDir())))
}

// suiteTask and suiteDir tell a child process of the suite what to do and where.
const (
	suiteTask = "LOCAL_CONFORMANCE_TASK"
	suiteDir  = "LOCAL_CONFORMANCE_DIR"
)

func target(dir conformance.Directory) conformance.Target {
	return conformance.Target{
		Open: func(_ context.Context, ns conformance.Namespace, env core.Env) (core.Agent, error) {
			// A directory that is not there is no place, which reading says.
			return inSmallParts(tree{dir.Path(ns)}, env), os.MkdirAll(dir.Path(ns), 0o700)
		},
		OpenFaulty: func(_ context.Context, ns conformance.Namespace, env core.Env, gate conformance.Gate) (core.Agent, error) {
			return inSmallParts(conformance.Gated(tree{dir.Path(ns)}, gate), env), nil
		},
		Raw:   dir,
		Modes: dir.Modes,
		Lacks: map[conformance.Means]string{
			conformance.MeansSecrets: "a directory is opened without a secret",
			conformance.MeansWire:    "a directory is reached over no network",
		},
		Crash: func(task string) *exec.Cmd {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), suiteTask+"="+task, suiteDir+"="+string(dir))
			return cmd
		},
		Limits: conformance.Limits{PartSize: smallPart},
		Short:  testing.Short(),
	}
}

// inSmallParts is the agent with parts so small that the suite's archives have
// several.
func inSmallParts(fsys filetree.FS, env core.Env) core.Agent {
	return object.New(filetree.New(fsys, filetree.Options{
		Limits:   transfer.Limits{PartSize: smallPart, Workers: 2},
		Chance:   env.Chance,
		ReadBack: true,
	}), env)
}

const smallPart = 1 << 20
