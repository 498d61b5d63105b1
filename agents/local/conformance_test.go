package local

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
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
		Open: func(ctx context.Context, ns conformance.Namespace, env core.Env) (core.Agent, error) {
			return (&Config{Dir: dir.Path(ns)}).Open(ctx, env)
		},
		OpenFaulty: func(_ context.Context, ns conformance.Namespace, env core.Env, gate conformance.Gate) (core.Agent, error) {
			return object.New(newStore(conformance.Gated(tree{dir.Path(ns)}, gate), env), env), nil
		},
		Raw:   dir,
		Modes: dir.Modes,
		Lacks: map[conformance.Means]string{conformance.MeansSecrets: "a directory is opened without a secret"},
		Crash: func(task string) *exec.Cmd {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), suiteTask+"="+task, suiteDir+"="+string(dir))
			return cmd
		},
		Limits: conformance.Limits{PartSize: 32 << 20},
		Short:  testing.Short(),
	}
}
