package reference

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// Secret is what an agent of this package shows to a place at the other end of a
// network.
const Secret = "the-secret-of-the-reference"

// Serve answers requests for a place over HTTP on a listener until that is closed,
// and then closes every connection.
func (p *Place) Serve(l net.Listener) error { return serve(p.do, l) }

func serve(ask roundTrip, l net.Listener) error {
	s := &http.Server{Handler: handler(ask), ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	err := s.Serve(l)
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, s.Close())
}

// A handler is a place as an HTTP server.
type handler roundTrip

func (ask handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(requestID, strconv.FormatInt(time.Now().UnixNano(), 36))
	q, err := read(r)
	if err != nil {
		tell(w, response{Err: err})
		return
	}
	got := ask(r.Context(), q)
	switch {
	case got.Err != nil:
		tell(w, got)
	case q.Op == get, q.Op == stat:
		give(w, q, got)
	default:
		tell(w, got)
	}
}

// read is a request as it came in.
func read(r *http.Request) (request, error) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+Secret)) != 1 {
		return request{}, core.ErrUnauthenticated
	}
	query := r.URL.Query()
	q := request{
		Op: op(query.Get("op")), Key: strings.TrimPrefix(r.URL.Path, "/"), Token: query.Get("token"), After: query.Get("after"), N: -1,
		Sums: sumsOf(r.Header.Get(headerSum)), Pinned: versionOf(r.Header.Get("If-Match")), Mode: modeOf(r.Header.Get(headerMode)),
	}
	q.Max, _ = strconv.Atoi(query.Get("max"))     // 0 where it is not said
	q.Index, _ = strconv.Atoi(query.Get("index")) // likewise
	if methods[q.Op] != r.Method || q.Op == replace || q.Index < 0 || q.Index > 10_000 {
		return q, core.Errorf(core.ErrUnsupported, "%s with the operation %q", r.Method, q.Op)
	}
	if asked := r.Header.Get("Range"); asked != "" {
		var last int64
		if _, err := fmt.Sscanf(asked, "bytes=%d-%d", &q.Off, &last); err != nil || q.Off < 0 || last < q.Off {
			return q, core.Errorf(core.ErrInvalid, "the range %q", asked)
		}
		q.N = last - q.Off + 1
	}
	return q, q.read(r.Body)
}

// read reads a request's body, which must be what its checksum says.
func (q *request) read(body io.Reader) (err error) {
	if q.Data, err = io.ReadAll(body); err != nil {
		return core.Errorf(core.ErrUnavailable, "the request broke off: %w", err)
	}
	if len(q.Sums) > 0 && q.Sums[0] != sumOf(q.Data) {
		return errFlipped
	}
	if q.Op == commit {
		if err := json.Unmarshal(q.Data, &q.Sums); err != nil {
			return core.Errorf(core.ErrInvalid, "the parts to commit: %w", err)
		}
	}
	return nil
}

// tell answers with JSON.
func tell(w http.ResponseWriter, r response) {
	a := answer{Keys: r.Keys, Sizes: r.Sizes, More: r.More, Next: r.Next, Uploads: r.Uploads, Parts: r.Parts, Size: r.Size, Version: r.Version}
	status := http.StatusOK
	if r.Err != nil {
		a.Error = core.KindOf(r.Err)
		status = statuses[a.Error]
	}
	text, err := json.Marshal(a)
	if err != nil || status == 0 {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text) // who is gone needs no answer
}

// give answers with an object, or what is known of it. What breaks off on its way
// ends the connection.
func give(w http.ResponseWriter, q request, r response) {
	size, status := r.Size, http.StatusOK
	if q.N >= 0 && q.Op == get {
		size, status = min(q.N, r.Size-q.Off), http.StatusPartialContent
		w.Header().Set("Content-Range", told(q.Off, size, r.Size))
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	w.Header().Set("Etag", etag(r.Version))
	w.Header().Set(headerSum, sumText(r.Sum))
	w.Header().Set(headerMode, strconv.FormatUint(uint64(r.Mode), 8))
	w.WriteHeader(status)
	if r.Body == nil {
		return
	}
	_, err := io.Copy(w, r.Body)
	if err = errors.Join(err, r.Body.Close()); err != nil {
		panic(http.ErrAbortHandler)
	}
}
