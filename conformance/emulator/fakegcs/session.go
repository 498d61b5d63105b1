package fakegcs

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// block is what a session keeps whole, and what all chunks but the last are multiples
// of.
const block = 256 << 10

// sessionFor is how long a session lives.
const sessionFor = 7 * 24 * time.Hour

// A session is a resumable upload.
type session struct {
	bucket *bucket
	begun  *request // with the conditions that hold when it ends
	asked  resource
	total  int64 // -1 while unknown
	since  time.Time
	file   *file
	out    *os.File
	sums   sums
	stored int64
	over   bool
	made   *object // nil where it ended otherwise
}

// begin starts a session.
func (q *request) begin(w http.ResponseWriter, b *bucket) error {
	asked, err := q.resource(q.Body)
	if err != nil {
		return err
	}
	if asked.Name == "" {
		return &refusal{http.StatusBadRequest, "required", "Required object name."}
	}
	if asked.ContentType == "" {
		asked.ContentType = q.Header.Get("X-Upload-Content-Type")
	}
	u := &session{bucket: b, begun: q, asked: asked, total: -1, since: q.server.options.Now(), sums: newSums()}
	if n, err := strconv.ParseInt(q.Header.Get("X-Upload-Content-Length"), 10, 64); err == nil {
		u.total = n
	}
	if u.file, u.out, err = q.server.newFile(); err != nil {
		return err
	}
	id := newID() + newID()
	q.server.mu.Lock()
	q.server.sessions[id] = u
	q.server.mu.Unlock()
	location := *q.URL
	query := location.Query()
	query.Set("upload_id", id)
	location.RawQuery, location.Scheme, location.Host = query.Encode(), "http", q.Host
	w.Header().Set("Location", location.String())
	w.Header().Set("X-Guploader-Uploadid", id)
	w.WriteHeader(http.StatusOK)
	return nil
}

// session is a request to a session, which knows it by its id alone.
func (q *request) session(w http.ResponseWriter, id string) error {
	w.Header().Set("X-Guploader-Uploadid", id)
	q.server.mu.Lock()
	u := q.server.sessions[id]
	gone := u == nil || q.server.options.Now().Sub(u.since) > sessionFor
	q.server.mu.Unlock()
	switch {
	case gone:
		return notFound("No such upload session.")
	case q.Method == http.MethodDelete:
		return q.cancel(w, u)
	case q.Method != http.MethodPut && q.Method != http.MethodPost:
		return notFound("Not Found")
	}
	c, err := parseChunk(q.Header.Get("Content-Range"), q.ContentLength)
	if err != nil {
		return err
	}
	return q.chunk(w, u, c)
}

func (q *request) cancel(w http.ResponseWriter, u *session) error {
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	if u.over {
		return notFound("No such upload session.")
	}
	q.server.end(u)
	q.server.release(content{{u.file, u.stored}})
	w.WriteHeader(499) // Client Closed Request, which is how it says that it is done
	return nil
}

// end closes a session. The server is locked, and what becomes of the bytes is the
// caller's.
func (s *Server) end(u *session) {
	u.over = true
	_ = u.out.Close() // everything that counts is compared with its checksum
}

// A chunk is what Content-Range says of a body.
type chunk struct {
	first, length int64 // length is 0 where the state is asked for
	total         int64 // -1 where it is not known yet
}

func parseChunk(header string, length int64) (c chunk, err error) {
	bad := invalid("Failed to parse Content-Range header %q.", header)
	if header == "" && length < 0 {
		return c, &refusal{http.StatusLengthRequired, "required", "Content-Length is required."}
	}
	if header == "" {
		return chunk{0, length, length}, nil
	}
	rest, ok := strings.CutPrefix(header, "bytes ")
	span, total, is := strings.Cut(rest, "/")
	if !ok || !is {
		return c, bad
	}
	if c.total = -1; total != "*" {
		if c.total, err = strconv.ParseInt(total, 10, 64); err != nil {
			return c, bad
		}
	}
	if span == "*" {
		return c, nil
	}
	var last int64
	if _, err := fmt.Sscanf(span, "%d-%d", &c.first, &last); err != nil || last < c.first {
		return c, bad
	}
	if c.length = last - c.first + 1; length >= 0 && length != c.length {
		return c, invalid("Content-Range is of %d bytes, the body has %d.", c.length, length)
	}
	return c, nil
}

// chunk stores what the session does not have, and makes the object when that was the
// last of it.
func (q *request) chunk(w http.ResponseWriter, u *session, c chunk) error {
	q.server.mu.Lock()
	made, over, stored := u.made, u.over, u.stored
	if u.total < 0 {
		u.total = c.total
	}
	total := u.total
	q.server.mu.Unlock()
	switch {
	case made != nil:
		writeJSON(w, http.StatusOK, made.resource)
		return nil
	case over:
		return notFound("No such upload session.")
	case c.total >= 0 && c.total != total, total >= 0 && stored > total:
		return invalid("The session is for %d bytes and has %d, the request says %d.", total, stored, c.total)
	case c.first > stored:
		return &refusal{http.StatusServiceUnavailable, "backendError", fmt.Sprintf("Invalid request. According to the Content-Range header, the upload offset is %d byte(s), which exceeds already uploaded size of %d byte(s).", c.first, stored)}
	}
	if err := q.store(u, c, total); err != nil {
		return err
	}
	return q.settle(w, u)
}

// store appends to a session, block by block, what it does not have yet.
func (q *request) store(u *session, c chunk, total int64) error {
	at, left, buf := c.first, c.length, make([]byte, block)
	for left > 0 {
		part := buf[:min(left, block-at%block)]
		n, err := io.ReadFull(q.Body, part)
		whole := (at+int64(n))%block == 0 || at+int64(n) == total
		if err != nil || !whole {
			if err == nil {
				return nil // a chunk of no whole blocks, which is not the last
			}
			return brokenOff(err)
		}
		if err := q.server.append(u, at, part); err != nil {
			return err
		}
		at, left = at+int64(n), left-int64(n)
	}
	return nil
}

// append adds the bytes of a block to a session, unless it has them.
func (s *Server) append(u *session, at int64, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.over || at != u.stored {
		return nil // somebody else sends it too
	}
	if _, err := u.out.WriteAt(p, at); err != nil {
		return err
	}
	_, _ = u.sums.Write(p) // which never fails
	u.stored += int64(len(p))
	s.grown(u.file, int64(len(p)))
	return nil
}

// settle answers with the state of a session, and ends it where it is complete.
func (q *request) settle(w http.ResponseWriter, u *session) error {
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	if u.over && u.made == nil {
		return notFound("No such upload session.")
	}
	if u.made == nil && u.stored != u.total {
		return u.incomplete(w, q.Header.Get("X-GUploader-No-308") == "yes")
	}
	if u.made == nil {
		q.server.end(u)
		o, err := u.begun.create(u.bucket, u.draft(q.Header.Values("X-Goog-Hash")))
		if err != nil {
			return err
		}
		u.made = o
	}
	writeJSON(w, http.StatusOK, u.begun.partial(u.made.resource))
	return nil
}

func (u *session) draft(hashes []string) draft {
	d := draft{
		resource: u.asked, conditions: u.begun.query, content: content{{u.file, u.stored}},
		size: u.stored, crc: u.sums.crc.Sum32(), md5: u.sums.md5.Sum(nil),
	}
	for _, h := range strings.Split(strings.Join(hashes, ","), ",") {
		if name, value, ok := strings.Cut(strings.TrimSpace(h), "="); ok {
			d.sums = append(d.sums, sum{name, value})
		}
	}
	return d
}

// incomplete says how much a session has.
func (u *session) incomplete(w http.ResponseWriter, no308 bool) error {
	if u.stored > 0 {
		w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", u.stored-1))
	}
	w.Header().Set("Content-Length", "0")
	if no308 {
		w.Header().Set("X-Http-Status-Code-Override", "308")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	w.WriteHeader(http.StatusPermanentRedirect)
	return nil
}

// Close removes what sessions hold that nobody ends any more.
func (s *Server) Close() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.sessions {
		if !u.over {
			err = errors.Join(err, u.out.Close())
			u.over = true
			s.release(content{{u.file, u.stored}})
		}
	}
	return err
}
