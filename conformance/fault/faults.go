package fault

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// A Fault is what happens to a request. Offsets count the bytes of a body without
// its framing, from 0; one below 0 counts from the end of a body whose length is
// known, so that -1 is its last byte. An answer in chunks, of up to 16 MiB, is held
// until it is known, and has a length then. A fault at a byte that never comes does
// not happen.
type Fault struct {
	name    string
	conn    bool // happens to connections, not to requests
	first   deed // before anything goes to the server
	delay   time.Duration
	answer  func(Request) answer // instead of the server's
	acted   bool                 // whether the server sees the request all the same
	up      effect               // on the body of the request
	down    effect               // on the body of the answer
	head    effect               // on the head of the answer
	rewrite func(Request, []byte) []byte
	whole   io.ReaderAt
}

// String names it, for people.
func (f Fault) String() string { return f.name }

// An answer is one that no server gave.
type answer struct {
	status int
	header http.Header
	body   string
}

// An effect is what happens to a stream of bytes.
type effect struct {
	do   deed
	at   int64 // the byte that it happens at
	rate int64 // of slow, in bytes a second
}

type deed int

const (
	nothing deed = iota
	reset        // the connection is reset
	cut          // the connection is closed
	end          // the body is ended, well-formed
	stall        // nothing moves until the rule is released
	flip         // one bit is another
	slow
	unranged
)

// Answer answers a request with a status, and perhaps headers and a body, and the
// server never sees it.
func Answer(status int, header http.Header, body string) Fault {
	return Fault{name: fmt.Sprintf("answer %d", status), answer: func(Request) answer { return answer{status, header, body} }}
}

// Instead lets the server act, and answers other than the server did.
func Instead(status int, header http.Header, body string) Fault {
	f := Answer(status, header, body)
	f.name, f.acted = fmt.Sprintf("%d instead of the server's answer", status), true
	return f
}

// Redirect sends a client to another base, such as http://127.0.0.1:2, with the
// same path and query (307).
func Redirect(base string) Fault {
	return Fault{name: "redirect", answer: func(q Request) answer {
		return answer{status: http.StatusTemporaryRedirect, header: http.Header{"Location": {base + q.Target}}}
	}}
}

// Reset resets the connection when it has the head of a request, of which the
// server sees nothing.
func Reset() Fault { return Fault{name: "reset", first: reset} }

// Lost lets the server act, throws its answer away when it has it whole, and resets
// the connection.
func Lost() Fault { return Fault{name: "answer lost", acted: true} }

// Delay holds a request back for a while.
func Delay(d time.Duration) Fault { return Fault{name: fmt.Sprintf("delay of %v", d), delay: d} }

// ResetUp resets the connection when n bytes of the request's body went to the
// server, and ResetDown when n bytes of the answer's body went to the client.
func ResetUp(n int64) Fault { return up("reset", effect{do: reset, at: n}) }

// ResetDown is described with ResetUp.
func ResetDown(n int64) Fault { return down("reset", effect{do: reset, at: n}) }

// StallUp passes n bytes of the request's body on and then takes no more, until the
// rule is released or somebody gives up. StallDown does the same to the body of
// the answer.
func StallUp(n int64) Fault { return up("stall", effect{do: stall, at: n}) }

// StallDown is described with StallUp.
func StallDown(n int64) Fault { return down("stall", effect{do: stall, at: n}) }

// StallAnswer lets the server act, and holds its whole answer back until the rule
// is released.
func StallAnswer() Fault { return Fault{name: "stall of the answer", head: effect{do: stall}} }

// FlipUp flips one bit of byte n of the request's body, and FlipDown of the
// answer's.
func FlipUp(n int64) Fault { return up("flip", effect{do: flip, at: n}) }

// FlipDown is described with FlipUp.
func FlipDown(n int64) Fault { return down("flip", effect{do: flip, at: n}) }

// SlowUp lets rate bytes of the request's body pass in a second, steadily, and
// SlowDown of the answer's. Little waits in buffers of the system.
func SlowUp(rate int64) Fault { return up("slow", effect{do: slow, rate: rate}) }

// SlowDown is described with SlowUp.
func SlowDown(rate int64) Fault { return down("slow", effect{do: slow, rate: rate}) }

// SlowHead sends the head of the answer with rate bytes in a second.
func SlowHead(rate int64) Fault {
	return Fault{name: "slow head", head: effect{do: slow, rate: rate}}
}

// CutDown closes the connection in order when n bytes of the answer's body went to
// the client, of more that its Content-Length promised.
func CutDown(n int64) Fault { return down("cut", effect{do: cut, at: n}) }

// EndDown sends the answer in chunks, without its length, and ends it in good form
// after n bytes although there are more.
func EndDown(n int64) Fault { return down("early end", effect{do: end, at: n}) }

// Rewrite replaces the body of an answer, which is up to 16 MiB, by what f makes of
// it. It happens where f changes something.
func Rewrite(f func(q Request, body []byte) []byte) Fault {
	return Fault{name: "rewritten answer", rewrite: f}
}

// Unranged answers a request for a range as a server does that knows no ranges:
// with status 200 and everything. What lies outside of the range comes from whole,
// or is zeros where that is nil: the request that the server gets stays as it is.
func Unranged(whole io.ReaderAt) Fault {
	f := down("range ignored", effect{do: unranged})
	f.whole = whole
	return f
}

// Refuse resets a connection as soon as it is there. It happens to connections:
// Rule.Match sees nothing but Request.Conn.
func Refuse() Fault { return Fault{name: "connection refused", conn: true, first: reset} }

// Hold takes a connection and neither reads nor writes on it, TLS included, until
// the rule is released. Like Refuse it happens to connections.
func Hold() Fault { return Fault{name: "connection held", conn: true, first: stall} }

func up(name string, e effect) Fault { return Fault{name: name + " up" + e.where(), up: e} }

func down(name string, e effect) Fault { return Fault{name: name + " down" + e.where(), down: e} }

func (e effect) where() string {
	switch e.do {
	case slow:
		return fmt.Sprintf(" to %d bytes/s", e.rate)
	case unranged:
		return ""
	}
	return fmt.Sprintf(" at byte %d", e.at)
}
