package reference

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transport"
)

// Connections is how many an agent has open at most.
const Connections = 4

// A client is a place at the other end of a network: what makes an agent of a
// transport that may fail, stall, and lose answers.
type client struct {
	base     url.URL // scheme and host
	http     *http.Client
	patience core.Patience
	answered atomic.Bool // whether the place ever did
}

// dial makes a client of a place at an address.
func dial(scheme, address string, roots []byte, env core.Env) (*client, error) {
	c := &client{base: url.URL{Scheme: scheme, Host: address}, patience: env.Patience.WithDefaults()}
	c.http = &http.Client{
		Transport:     env.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if env.Transport != nil {
		return c, nil
	}
	t, err := transport.New(transport.Options{Connections: Connections, Dial: connect})
	if err != nil {
		return nil, err
	}
	if roots != nil {
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		t.TLSClientConfig.RootCAs.AppendCertsFromPEM(roots)
	}
	c.http.Transport = t
	return c, nil
}

// connect opens a connection on which little is buffered: what was taken by the
// system and not by the network is no sign of life.
func connect(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, address)
	if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
		_ = tcp.SetWriteBuffer(16 << 10) // where that is not done, stalls are seen later
	}
	return conn, err
}

// do makes a request until it is answered, fails for good, or patience is over.
func (c *client) do(ctx context.Context, q request) response {
	t := tries{client: c}
	for {
		r := c.try(ctx, q)
		if r.Err == nil {
			if q.Op == get && q.N >= 0 {
				r.Body = &download{tries: t, ctx: ctx, q: q, body: r.Body}
			}
			return r
		}
		if err := t.again(ctx, r.Err); err != nil {
			return response{Err: err}
		}
	}
}

// try makes a request once. The body of an answer with a range may end early.
func (c *client) try(ctx context.Context, q request) response {
	w := newWatch(ctx, c.patience.Stall)
	out, err := c.encode(w, q)
	if err != nil {
		w.end()
		return response{Err: err}
	}
	in, err := c.http.Do(out)
	w.pause()
	if err != nil {
		err = w.why(err)
		w.end()
		return response{Err: err}
	}
	c.answered.Store(true)
	body := &incoming{w, in.Body}
	if in.StatusCode == http.StatusPartialContent && q.Op == get {
		return rangeOf(q, in, body)
	}
	r := decode(q, in, body)
	_ = body.Close() // it was read to its end, or is no use
	return r
}

// encode writes a request.
func (c *client) encode(w *watch, q request) (*http.Request, error) {
	data := q.Data
	if q.Op == commit {
		data, _ = json.Marshal(q.Sums) // numbers
		q.Sums = []core.CRC64{sumOf(data)}
	}
	u := c.base
	u.Path, u.RawQuery = "/"+q.Key, url.Values{
		"op": {string(q.Op)}, "token": {q.Token}, "after": {q.After}, "max": {strconv.Itoa(q.Max)}, "index": {strconv.Itoa(q.Index)},
	}.Encode()
	// Who waits for a free connection waits for another request, not for the place.
	ctx := httptrace.WithClientTrace(w.ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { w.moved() }})
	r, err := http.NewRequestWithContext(ctx, methods[q.Op], u.String(), nil)
	if err != nil {
		return nil, core.Errorf(core.ErrInvalid, "the address: %w", err)
	}
	if len(data) > 0 {
		r.Body, r.ContentLength = io.NopCloser(&outgoing{w, bytes.NewReader(data)}), int64(len(data))
	}
	set := func(name, value string) {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	set("Authorization", "Bearer "+Secret)
	for _, sum := range q.Sums {
		set(headerSum, sumText(sum))
	}
	if q.Mode != 0 {
		set(headerMode, strconv.FormatUint(uint64(q.Mode), 8))
	}
	if q.Pinned != 0 {
		set("If-Match", etag(q.Pinned))
	}
	if q.Op == get && q.N >= 0 {
		set("Range", span(q.Off, q.N))
	}
	return r, nil
}

// rangeOf is the answer to a request for a range, which must be that range.
func rangeOf(q request, in *http.Response, body io.ReadCloser) response {
	r := response{Body: body, Version: versionOf(in.Header.Get("Etag"))}
	got := in.Header.Get("Content-Range")
	_, size, _ := strings.Cut(got, "/")
	r.Size, _ = strconv.ParseInt(size, 10, 64) // 0 fits no range
	switch {
	case got != told(q.Off, q.N, r.Size):
		r.Err = core.Errorf(core.ErrUnavailable, "asked for %s it answered with %q", span(q.Off, q.N), got)
	case q.Pinned != 0 && q.Pinned != r.Version:
		r.Err = core.Errorf(core.ErrChanged, "it answered with another version")
	}
	if r.Err != nil {
		_ = body.Close() // it is no use
	}
	return r
}

// decode reads an answer that is no range to its end.
func decode(q request, in *http.Response, body io.Reader) response {
	object := in.StatusCode == http.StatusOK && (q.Op == get || q.Op == stat)
	r := response{Version: versionOf(in.Header.Get("Etag")), Mode: modeOf(in.Header.Get(headerMode)), Size: in.ContentLength}
	switch {
	case object && q.Op == stat:
		return r
	case object && q.N >= 0:
		return response{Err: core.Errorf(core.ErrUnsupported, "asked for a range it answered with the whole")}
	}
	data, err := io.ReadAll(io.LimitReader(body, mostAnswer))
	if err != nil {
		return response{Err: err}
	}
	if !object {
		return understood(in, data)
	}
	if sums := sumsOf(in.Header.Get(headerSum)); len(sums) != 1 || sums[0] != sumOf(data) {
		return response{Err: errFlipped}
	}
	r.Body, r.Size = io.NopCloser(bytes.NewReader(data)), int64(len(data))
	return r
}

// mostAnswer is more than any answer has that is no range.
const mostAnswer = 64 << 20

// understood is the JSON of an answer. What is none, is no answer.
func understood(in *http.Response, data []byte) response {
	var a answer
	if err := json.Unmarshal(data, &a); err != nil && in.StatusCode < 300 {
		return response{Err: core.Errorf(core.ErrUnavailable, "an answer that is not understood: %w", err)}
	}
	if in.StatusCode >= 300 || a.Error != "" {
		return response{Err: refused(in.Header, in.StatusCode, a)}
	}
	return response{Keys: a.Keys, Sizes: a.Sizes, More: a.More, Next: a.Next, Uploads: a.Uploads, Parts: a.Parts, Size: a.Size, Version: a.Version}
}
