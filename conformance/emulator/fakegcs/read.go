package fakegcs

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// get answers with what is known of an object, or with its bytes.
func (q *request) get(w http.ResponseWriter, bucket, name string) error {
	o, err := q.find(bucket, name)
	if err != nil {
		return err
	}
	if !q.media {
		q.server.mu.Lock()
		defer q.server.mu.Unlock()
		writeJSON(w, http.StatusOK, q.partial(o.resource))
		return nil
	}
	q.server.mu.Lock()
	held := q.server.share(o.content)
	q.server.mu.Unlock()
	defer func() {
		q.server.mu.Lock()
		defer q.server.mu.Unlock()
		q.server.release(held)
	}()
	return q.send(w, o)
}

func (q *request) find(bucket, name string) (*object, error) {
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	b, err := q.bucket(bucket)
	if err != nil {
		return nil, err
	}
	if err := q.allowed("storage.objects.get", "object"); err != nil {
		return nil, err
	}
	var generation int64
	if text := q.query.Get("generation"); text != "" {
		if generation, err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, invalid("Invalid value for generation.")
		}
	}
	o := b.find(name, generation)
	if o == nil {
		// Who may not list is not told what there is not.
		if err := q.allowed("storage.objects.list", "bucket"); err != nil {
			return nil, err
		}
		return nil, noObject(bucket, name)
	}
	return o, conditions(q.query, o)
}

// send writes the bytes of an object that were asked for.
func (q *request) send(w http.ResponseWriter, o *object) error {
	first, last, status := int64(0), o.size-1, http.StatusOK
	if span, ok := strings.CutPrefix(q.Header.Get("Range"), "bytes="); ok {
		from, to, _ := strings.Cut(span, "-")
		a, err := strconv.ParseInt(from, 10, 64)
		b, e := strconv.ParseInt(to, 10, 64)
		if err != nil || e != nil && to != "" { // a server may pass over a range that it does not understand
			return invalid("The range %q is not understood.", span)
		}
		if a >= o.size {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", o.size))
			return &refusal{http.StatusRequestedRangeNotSatisfiable, "requestedRangeNotSatisfiable", "Request range not satisfiable"}
		}
		if to != "" {
			last = min(last, b)
		}
		first, status = a, http.StatusPartialContent
	}
	h := w.Header()
	h.Set("Content-Type", o.ContentType)
	h.Set("Content-Length", strconv.FormatInt(last-first+1, 10))
	h.Set("X-Goog-Generation", o.Generation)
	h.Set("X-Goog-Metageneration", o.Metageneration)
	h.Set("X-Goog-Storage-Class", o.StorageClass)
	h.Set("X-Goog-Stored-Content-Length", o.Size)
	h.Add("X-Goog-Hash", "crc32c="+o.CRC32C)
	if o.MD5Hash != "" {
		h.Add("X-Goog-Hash", "md5="+o.MD5Hash)
	}
	if status == http.StatusPartialContent {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, o.size))
	}
	w.WriteHeader(status)
	_ = o.content.send(w, first, last-first+1) // whoever asked may be gone
	return nil
}

// delete removes an object, or one generation of it.
func (q *request) delete(w http.ResponseWriter, bucket, name string) error {
	s := q.server
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := q.bucket(bucket)
	if err != nil {
		return err
	}
	if err := q.allowed("storage.objects.delete", "object"); err != nil {
		return err
	}
	generation, err := strconv.ParseInt("0"+q.query.Get("generation"), 10, 64)
	if err != nil {
		return invalid("Invalid value for generation.")
	}
	o := b.find(name, generation)
	if o == nil {
		return noObject(bucket, name)
	}
	if err := conditions(q.query, o); err != nil {
		return err
	}
	if err := q.protected(b, o); err != nil {
		return err
	}
	b.drop(s, o, generation)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// drop removes a generation for good, or the live one where none is named.
func (b *bucket) drop(s *Server, o *object, generation int64) {
	if b.live[o.name] == o {
		b.remove(s, o.name)
	}
	if generation == 0 {
		return
	}
	for i, old := range b.older[o.name] {
		if old == o {
			b.older[o.name] = append(b.older[o.name][:i:i], b.older[o.name][i+1:]...)
			s.release(o.content)
			return
		}
	}
}
