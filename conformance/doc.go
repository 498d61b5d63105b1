// Package conformance proves that an agent keeps the contract of core.Agent.
// Whoever passes it can be trusted with a backup.
//
// An agent's test is one call:
//
//	func TestLocal(t *testing.T) { conformance.Run(t, target(t)) }
//
// Each case is a subtest, TestLocal/A01_empty, and carries the sentence of the
// contract that it checks. A case that fails says in one block what was done,
// what the contract expects, what was observed, why that matters, and how to run
// it again with the same seed. Check runs the same cases without a test and
// returns a Report.
//
// # What the suite demands of itself
//
// Content is a seeded, incompressible stream in which every byte depends on its
// position; all that is uploaded is read back and hashed. Nothing around the
// agent is retried. A case that injects a fault and does not see it fire is
// inconclusive, which is not passed. There are no skips: what a target cannot
// have is declared in Target.Lacks with the reason, and reported as n/a.
//
// The suite is proven by agents that are broken on purpose, each in one
// behaviour: package reference has them beside the agent that is right, and
// docs/kills.md says which case finds which.
package conformance
