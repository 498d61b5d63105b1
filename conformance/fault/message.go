package fault

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxHead is the longest head of a message.
const maxHead = 1 << 20

// readHead returns the bytes of a head, with the empty line at its end.
func readHead(in *bufio.Reader) ([]byte, error) {
	var head []byte
	for {
		line, err := in.ReadSlice('\n')
		head = append(head, line...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull): // the line goes on
		case err != nil:
			return nil, err
		case len(bytes.TrimSpace(line)) == 0 && len(bytes.TrimSpace(head)) == 0:
			head = head[:0] // an empty line before a head
		case len(bytes.TrimSpace(line)) == 0 && bytes.HasSuffix(head, []byte("\n"+string(line))):
			return head, nil
		}
		if len(head) > maxHead {
			return nil, fmt.Errorf("a head of more than %d bytes", maxHead)
		}
	}
}

// parseRequest understands the head of a request.
func parseRequest(head []byte, conn int) (*http.Request, Request, error) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return nil, Request{}, err
	}
	return r, Request{Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header, Length: r.ContentLength, Conn: conn, When: time.Now()}, nil
}

// A reply is the head of an answer.
type reply struct {
	head   []byte
	status int
	body   body
	empty  bool // no body follows, whatever the head says
	last   bool // the connection ends with it
	header http.Header
}

func readReply(in *bufio.Reader, to *http.Request) (reply, error) {
	head, err := readHead(in)
	if err != nil {
		return reply{}, err
	}
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), to)
	if err != nil {
		return reply{}, err
	}
	a := reply{head: head, status: r.StatusCode, last: r.Close, header: r.Header}
	a.body = body{src: in, length: r.ContentLength, chunked: slices.Contains(r.TransferEncoding, "chunked")}
	a.empty = to.Method == http.MethodHead || a.status == http.StatusNoContent || a.status == http.StatusNotModified || a.status < 200
	if a.empty {
		a.body.length, a.body.chunked = 0, false
	}
	if a.body.length < 0 && !a.body.chunked {
		a.last = true
	}
	return a, nil
}

// edit replaces the status line, where status is given, and some headers of a head.
func edit(head []byte, status string, drop []string, add ...string) []byte {
	var out bytes.Buffer
	for i, line := range strings.SplitAfter(string(head), "\n") {
		name, _, _ := strings.Cut(line, ":")
		switch {
		case i == 0 && status != "":
			line = "HTTP/1.1 " + status + "\r\n"
		case strings.TrimSpace(line) == "":
			continue
		case i > 0 && slices.ContainsFunc(drop, func(d string) bool { return strings.EqualFold(d, name) }):
			continue
		}
		out.WriteString(line)
	}
	for _, line := range add {
		out.WriteString(line + "\r\n")
	}
	out.WriteString("\r\n")
	return out.Bytes()
}

// bytes are a whole answer to a request of a method.
func (a answer) bytes(method string, last bool) []byte {
	header := http.Header{}
	if a.header != nil {
		header = a.header.Clone()
	}
	header.Set("Content-Length", strconv.Itoa(len(a.body)))
	if last {
		header.Set("Connection", "close")
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "HTTP/1.1 %d %s\r\n", a.status, http.StatusText(a.status))
	_ = header.Write(&out) // to memory
	out.WriteString("\r\n")
	if method != http.MethodHead {
		out.WriteString(a.body)
	}
	return out.Bytes()
}
