// Package reference is the yardstick of the conformance suite: a small agent that
// keeps its backups in memory and obeys the whole contract of core.Agent. It
// shares no code with the agents that people use. Its tests have the agents that
// are broken on purpose.
//
// A Place outlives the agents on it. To be used by a process that gets killed, it
// is served over a loopback connection: see Serve and Dial.
package reference
