package sixth

import (
	"context"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

// TestConformance proves the agent by the common suite, on a real server or an
// emulator of it: conformance/emulator has those that others are proven on.
func TestConformance(t *testing.T) {
	conformance.Run(t, target())
}

// inFlight are the parts that are sent at once.
const inFlight = 4

// target is the agent as the suite opens it. Give it Raw, OpenFaulty, Crash, Wire,
// Secrets and Modes too, or name in Lacks what the place cannot have, with the reason.
func target() conformance.Target {
	return conformance.Target{
		Open: func(ctx context.Context, ns conformance.Namespace, env core.Env) (core.Agent, error) {
			c := &Config{Bucket: "conformance", Prefix: strings.Trim(string(ns), "/"), PartSize: minPart, Concurrency: inFlight}
			return c.Open(ctx, env)
		},
		Limits: conformance.Limits{PartSize: minPart, InFlight: inFlight},
		Short:  testing.Short(),
	}
}
