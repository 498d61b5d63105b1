// Package reference is the yardstick of the conformance suite: a small agent that
// keeps its backups in memory and obeys the whole contract of core.Agent. It
// shares no code with the agents that people use. Its tests have the agents that
// are broken on purpose.
//
// A Place outlives the agents on it. Serve puts it behind HTTP, and At is the agent
// at the other end: for processes that get killed, and for networks that fail.
// The agent itself is the same. Below it stands either the Place or a client of
// one, which alone knows of retries, stalls and connections.
package reference
