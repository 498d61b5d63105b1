package fakegcs

import (
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
)

// insert creates an object in one request, or begins a session.
func (q *request) insert(w http.ResponseWriter, bucket string) error {
	q.server.mu.Lock()
	b, err := q.bucket(bucket)
	if err == nil {
		err = q.allowed("storage.objects.create", "object")
	}
	q.server.mu.Unlock()
	if err != nil {
		return err
	}
	switch q.query.Get("uploadType") {
	case "media":
		d, err := q.server.receive(q.Body)
		if err != nil {
			return brokenOff(err)
		}
		d.Name, d.ContentType = q.query.Get("name"), q.Header.Get("Content-Type")
		return q.created(w, b, d)
	case "multipart":
		return q.insertMultipart(w, b)
	case "resumable":
		return q.begin(w, b)
	}
	return invalid("Invalid upload request: uploadType %q.", q.query.Get("uploadType"))
}

func brokenOff(err error) error {
	return &refusal{http.StatusServiceUnavailable, "uploadBrokenConnection", "The upload broke off: " + err.Error()}
}

// created makes an object of what was received and answers with it.
func (q *request) created(w http.ResponseWriter, b *bucket, d draft) error {
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	d.conditions = q.query
	if d.Name == "" {
		q.server.release(d.content)
		return &refusal{http.StatusBadRequest, "required", "Required object name."}
	}
	o, err := q.create(b, d)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, q.partial(o.resource))
	return nil
}

// insertMultipart takes a body of two parts: metadata, then bytes.
func (q *request) insertMultipart(w http.ResponseWriter, b *bucket) error {
	kind, params, err := mime.ParseMediaType(q.Header.Get("Content-Type"))
	if err != nil || !strings.HasPrefix(kind, "multipart/") || params["boundary"] == "" {
		return invalid("Bad content type. Please use the 'multipart/related' content type.")
	}
	parts := multipart.NewReader(q.Body, params["boundary"])
	head, err := parts.NextRawPart()
	if err != nil {
		return invalid("Malformed multipart body.")
	}
	asked, err := q.resource(head)
	if err != nil {
		return err
	}
	media, err := parts.NextRawPart()
	if err != nil {
		return invalid("Malformed multipart body.")
	}
	d, err := q.server.receive(media)
	if err != nil {
		return brokenOff(err)
	}
	if _, err := parts.NextRawPart(); err != io.EOF { // nothing was lost at the end
		q.server.mu.Lock()
		defer q.server.mu.Unlock()
		q.server.release(d.content)
		return invalid("Malformed multipart body.")
	}
	d.resource = asked
	if d.ContentType == "" {
		d.ContentType = media.Header.Get("Content-Type")
	}
	return q.created(w, b, d)
}

// resource reads what a client wants an object to be like.
func (q *request) resource(body io.Reader) (r resource, err error) {
	raw, err := io.ReadAll(io.LimitReader(body, 1<<20))
	if err != nil {
		return r, brokenOff(err)
	}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &r); err != nil {
			return r, &refusal{http.StatusBadRequest, "parseError", "Parse Error"}
		}
	}
	if name := q.query.Get("name"); name != "" {
		if r.Name != "" && r.Name != name {
			return r, invalid("Value '%s' in content does not agree with value '%s'.", r.Name, name)
		}
		r.Name = name
	}
	size := 0
	for k, v := range r.Metadata {
		size += len(k) + len(v)
	}
	if size > 8<<10 {
		return r, invalid("Your metadata is too large: %d bytes, where 8192 are the most.", size)
	}
	return r, nil
}
