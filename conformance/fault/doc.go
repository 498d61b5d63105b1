// Package fault is a proxy that stands before a real server and does to its
// connections what networks and tired servers do: requests that fail, answers
// that get lost, resets, stalls, flipped bits, bodies that end early.
//
//	p, err := fault.Start(fault.Options{Upstream: "127.0.0.1:9000"})
//	r := &fault.Rule{Skip: 2, Fault: fault.Lost()} // the answer of the third request
//	p.Arm(r)
//	// ... talk to p.Addr()
//	if r.Fired() == 0 { /* what was to be tried did not happen */ }
//
// It knows HTTP/1.1 and passes heads and framing byte for byte, so that signed
// requests stay valid: the Host that a client sends is the proxy's address, and the
// server sees just that. With Options.Opaque it passes any TCP connection, which is
// then one request for the rules.
//
// Each client connection has one connection of its own to the server. Nothing is
// stored: a body goes on as it comes, except where Rewrite needs it whole.
package fault
