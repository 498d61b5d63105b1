package prove

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// A RoundTripper is a transport that is a function.
type RoundTripper func(*http.Request) (*http.Response, error)

// RoundTrip calls it.
func (f RoundTripper) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// A Recorder remembers the heads of requests on their way to Next. It is safe for
// concurrent use.
type Recorder struct {
	Next http.RoundTripper

	mu  sync.Mutex
	all []*http.Request
}

// RoundTrip passes a request on.
func (r *Recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	r.mu.Lock()
	r.all = append(r.all, q.Clone(context.Background()))
	r.mu.Unlock()
	return r.Next.RoundTrip(q)
}

// Seen are the requests so far, without their bodies.
func (r *Recorder) Seen() []*http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// Answer is a server's answer to a request, whose body it closes. HEAD gets no body.
func Answer(q *http.Request, status int, header http.Header, body string) *http.Response {
	if q.Method == http.MethodHead {
		body = ""
	}
	if q.Body != nil {
		_ = q.Body.Close()
	}
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: q,
		Header: header, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}
