package fault

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxHeld is the longest body that is held whole.
const maxHeld = 16 << 20

// An exchange is one request and its answer.
type exchange struct {
	*link
	hit
	request *http.Request
	seen    Request
}

// exchange passes one request, and says whether the connection goes on.
func (l *link) exchange() bool {
	head, err := readHead(l.in)
	if err != nil {
		return false
	}
	r, seen, err := parseRequest(head, l.number)
	if err != nil {
		_, _ = l.client.Write(answer{status: http.StatusBadRequest}.bytes("", true)) // it is closed anyway
		return false
	}
	x := &exchange{link: l, hit: l.proxy.pick(seen, false), request: r, seen: seen}
	if x.answer != nil && !x.acted {
		return x.refuse()
	}
	if !l.begin(x.hit) {
		return false
	}
	if _, err := l.server.Write(head); err != nil {
		l.close(true)
		return false
	}
	return x.pass()
}

// refuse answers without the server. A client that waits to be told to go on with
// its body is told no.
func (x *exchange) refuse() bool {
	last := strings.EqualFold(x.request.Header.Get("Expect"), "100-continue")
	if !last {
		s := &stream{link: x.link, hit: x.hit, from: x.tcp, to: io.Discard, count: &x.proxy.up}
		if err := x.sent(s).each(io.Discard, s); err != nil {
			return false
		}
	}
	x.fire()
	a := x.answer(x.seen)
	x.proxy.down.Add(int64(len(a.body)))
	_, err := x.client.Write(a.bytes(x.request.Method, last))
	if err == nil && last {
		x.leave()
		_, _ = io.Copy(io.Discard, x.in) // until it has left
	}
	return err == nil && !last
}

// sent is the body of the request.
func (x *exchange) sent(s *stream) body {
	b := body{src: x.in, length: x.request.ContentLength, most: s.most()}
	b.chunked = slices.Contains(x.request.TransferEncoding, "chunked")
	if b.length < 0 && !b.chunked {
		b.length = 0
	}
	return b
}

// pass passes the body and the answer, at the same time.
func (x *exchange) pass() bool {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		x.send()
	}()
	last, err := x.receive()
	switch {
	case errors.Is(err, errCut):
		x.close(false)
	case err != nil:
		x.close(true)
	case last:
		x.leave()
	}
	<-ended
	return err == nil && !last
}

// send passes the body of the request, and then looks whether the client stays.
func (x *exchange) send() {
	s := &stream{link: x.link, hit: x.hit, effect: x.up, from: x.tcp, to: x.server, count: &x.proxy.up}
	b := x.sent(s)
	s.fit(b.length)
	err := b.each(x.server, s)
	switch {
	case errors.Is(err, errReset):
		x.close(true)
	case err != nil:
		// The server may have answered and gone. What the client still sends is read,
		// so that the answer reaches it.
		_, _ = io.Copy(io.Discard, x.in)
		x.close(false)
	default:
		if _, err := x.in.Peek(1); err != nil {
			x.close(false)
		}
	}
}

// lingering is how long a client that was told that its connection ends may take
// to see it.
const lingering = 2 * time.Second

// leave tells the client that no more comes. Until it has left, what it sends is
// read: a connection that is closed over unread bytes is reset, and the answer with
// it.
func (x *exchange) leave() {
	_ = closeWrite(x.client) // it may be gone
	_ = x.tcp.SetReadDeadline(time.Now().Add(lingering))
}

// receive passes the answer, and says whether it is the last on this connection.
func (x *exchange) receive() (last bool, err error) {
	a, err := x.final()
	if err != nil {
		if x.head.do == stall || x.down.do == stall {
			x.fire() // the client has left before there was something to hold back
		}
		return false, err
	}
	switch {
	case x.acted:
		return a.last, x.replace(a)
	case x.rewrite != nil:
		return a.last, x.rewritten(a)
	}
	if x.down.at < 0 && a.body.chunked {
		if a, err = x.measured(a); err != nil {
			return false, err
		}
	}
	s := &stream{link: x.link, hit: x.hit, effect: x.down, from: x.server, to: x.client, count: &x.proxy.down}
	s.fit(a.body.length)
	a.body.most = s.most()
	if x.down.do == unranged && a.status == http.StatusPartialContent {
		return a.last, x.unranged(a, s)
	}
	if x.down.do == unranged {
		s.effect.do = nothing
	}
	comes := a.body.length < 0 || s.effect.at < a.body.length // the byte of an early end
	if x.down.do == end && !a.empty && comes {
		return a.last, x.ended(a, s)
	}
	if err := x.sendHead(a); err != nil {
		return false, err
	}
	return a.last, a.body.each(x.client, s)
}

// final passes what comes before the answer, such as 100, and returns its head.
func (x *exchange) final() (reply, error) {
	for {
		a, err := readReply(x.serverIn, x.request)
		if err != nil || a.status >= 200 || a.status == http.StatusSwitchingProtocols {
			return a, err
		}
		if _, err := x.client.Write(a.head); err != nil {
			return reply{}, err
		}
	}
}

// sendHead sends the head of an answer, in the manner of the fault.
func (x *exchange) sendHead(a reply) error {
	s := &stream{link: x.link, hit: x.hit, effect: x.head, from: x.server, to: x.client}
	_, err := s.Write(a.head)
	return err
}

// replace takes the server's answer whole, and gives another one or none.
func (x *exchange) replace(a reply) error {
	a.body.most = 32 << 10
	if err := a.body.each(io.Discard, io.Discard); err != nil {
		return err
	}
	x.fire()
	if x.answer == nil {
		return errReset
	}
	other := x.answer(x.seen)
	x.proxy.down.Add(int64(len(other.body)))
	_, err := x.client.Write(other.bytes(x.request.Method, a.last))
	return err
}

func (x *exchange) rewritten(a reply) error {
	data, err := a.body.whole()
	if err != nil {
		return err
	}
	if !a.empty {
		was := bytes.Clone(data)
		if data = x.rewrite(x.seen, data); !bytes.Equal(data, was) {
			x.fire()
		}
		a.head = edit(a.head, "", framing, fmt.Sprintf("Content-Length: %d", len(data)))
	}
	x.proxy.down.Add(int64(len(data)))
	_, err = x.client.Write(append(a.head, data...))
	return err
}

// measured is the same answer with its length in the place of chunks.
func (x *exchange) measured(a reply) (reply, error) {
	data, err := a.body.whole()
	a.body = body{src: bufio.NewReader(bytes.NewReader(data)), length: int64(len(data))}
	a.head = edit(a.head, "", framing, fmt.Sprintf("Content-Length: %d", len(data)))
	return a, err
}

// framing is what says where a body ends.
var framing = []string{"Content-Length", "Transfer-Encoding"}

// whole reads a body that is not too large.
func (b body) whole() ([]byte, error) {
	var all bytes.Buffer
	b.most = 32 << 10
	err := b.each(io.Discard, &limited{&all, maxHeld})
	return all.Bytes(), err
}

// limited is a buffer that does not grow without end.
type limited struct {
	to   *bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, fmt.Errorf("a body of more than %d bytes is not held whole", maxHeld)
	}
	return l.to.Write(p)
}

// ended sends the body in chunks of its own, which may end early. A client may leave
// as soon as it sees a head without a length.
func (x *exchange) ended(a reply, s *stream) error {
	if a.body.length >= 0 {
		x.fire()
		s.hit = hit{}
	}
	a.head = edit(a.head, "", framing, "Transfer-Encoding: chunked")
	if _, err := x.client.Write(a.head); err != nil {
		return err
	}
	out := &chunks{to: x.client}
	s.to = out
	if err := a.body.each(io.Discard, s); err != nil {
		return err
	}
	return out.end()
}

// chunks writes each piece as one chunk, until they are ended.
type chunks struct {
	to    io.Writer
	ended bool
}

func (c *chunks) Write(p []byte) (int, error) {
	if c.ended {
		return len(p), nil
	}
	if _, err := fmt.Fprintf(c.to, "%x\r\n", len(p)); err != nil {
		return 0, err
	}
	n, err := c.to.Write(p)
	if err != nil {
		return n, err
	}
	_, err = io.WriteString(c.to, "\r\n")
	return n, err
}

// end ends them well. What is written after that goes nowhere, so that the server
// is heard to its end and the connection stays good.
func (c *chunks) end() error {
	if c.ended {
		return nil
	}
	c.ended = true
	_, err := io.WriteString(c.to, "0\r\n\r\n")
	return err
}

// unranged sends everything where a part was asked for.
func (x *exchange) unranged(a reply, s *stream) error {
	var first, last, total int64
	if _, err := fmt.Sscanf(a.header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &total); err != nil {
		return fmt.Errorf("an answer with a part that does not say which: %w", err)
	}
	s.effect.do = nothing
	x.fire()
	head := edit(a.head, "200 OK", []string{"Content-Length", "Transfer-Encoding", "Content-Range"}, fmt.Sprintf("Content-Length: %d", total))
	if _, err := x.client.Write(head); err != nil {
		return err
	}
	whole := x.whole
	if whole == nil {
		whole = zeros{}
	}
	if _, err := io.Copy(s, io.NewSectionReader(whole, 0, first)); err != nil {
		return err
	}
	if err := a.body.each(io.Discard, s); err != nil {
		return err
	}
	_, err := io.Copy(s, io.NewSectionReader(whole, last+1, total-last-1))
	return err
}

// zeros is as long as one wants.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}
