package gcs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	raw "google.golang.org/api/storage/v1"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// inSession says whether archives go up in one resumable session: where parts could not
// be deleted, and where each would be paid for as long as its class or a retention says.
// The rights are asked for once; what the bucket is like, where that may be asked.
func (s *store) inSession(ctx context.Context) (bool, error) {
	if err := s.asking.take(ctx); err != nil {
		return false, err
	}
	defer s.asking.give()
	if s.session == nil {
		why, err := s.noParts(ctx)
		if err != nil {
			return false, err
		}
		if why != "" {
			s.env.Log.InfoContext(ctx, "archives go up in one stream", "agent", s.env.Name, "because", why)
		}
		in := why != ""
		s.session = &in
	}
	return *s.session, nil
}

// noParts says why archives are not uploaded in parts, or "".
func (s *store) noParts(ctx context.Context) (why string, err error) {
	const mayDelete, mayLook = "storage.objects.delete", "storage.buckets.get"
	switch {
	case s.config.Upload == uploadParts:
		return "", nil
	case s.config.Upload == uploadSession:
		return "upload=session", nil
	case s.config.StorageClass != "" && s.config.StorageClass != standard:
		return "parts of class " + s.config.StorageClass + " are paid for longer than they live", nil
	}
	granted, err := s.bucket.IAM().TestPermissions(ctx, []string{mayDelete, mayLook})
	if err = translate(opBucket, err); errors.Is(err, core.ErrUnsupported) || errors.Is(err, core.ErrNoPlace) && s.found.Load() {
		return "", nil // a server that knows no rights
	}
	if err != nil {
		return "", err
	}
	has := map[string]bool{}
	for _, right := range granted {
		has[right] = true
	}
	if !has[mayDelete] {
		return "without the right " + mayDelete + " parts would stay", nil
	}
	if !has[mayLook] {
		return "", nil
	}
	attrs, err := s.bucket.Attrs(ctx)
	if err = translate(opBucket, err); errors.Is(err, core.ErrDenied) {
		return "", nil // it takes more than that
	}
	if err != nil {
		return "", err
	}
	return keepsParts(attrs), nil
}

// keepsParts says why a bucket would keep parts, or "".
func keepsParts(b *storage.BucketAttrs) string {
	switch {
	case b.RetentionPolicy != nil:
		return fmt.Sprintf("the bucket keeps each object for %v", b.RetentionPolicy.RetentionPeriod)
	case b.DefaultEventBasedHold:
		return "the bucket puts each object under a hold"
	}
	switch b.StorageClass {
	case "NEARLINE", "COLDLINE", "ARCHIVE":
		return "parts of class " + b.StorageClass + " are paid for longer than they live"
	}
	return ""
}

// A session is an archive that goes up in one stream, part after part. How many bytes
// there are, the server knows; whose they are, the record says, where there is one.
type session struct {
	*store
	record *record

	mu    sync.Mutex
	next  int           // the part whose turn it is
	moved chan struct{} // closed when next has grown

	// Whoever's turn it is has these.
	known   bool   // whether stored is what the server has
	stored  int64  // bytes
	through bool   // whether the server has made the object
	tail    []byte // of the last part: what is less than a quantum
}

var _ object.Multipart = (*session)(nil)

func (s *store) beginSession(ctx context.Context, key, token string) (object.Multipart, error) {
	o := s.resource(key, token, 0, 0)
	o.Crc32c = "" // nobody knows them yet
	delete(o.Metadata, sumKey)
	doc, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, s.creating(o.Name, "resumable"), bytes.NewReader(doc))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("X-Upload-Content-Type", contentType)
	r, err := s.signed.Do(q)
	if err != nil {
		return nil, translate(opInsert, err)
	}
	defer r.Body.Close()
	if err := googleapi.CheckResponse(r); err != nil {
		return nil, translate(opInsert, err)
	}
	at, err := url.Parse(r.Header.Get("Location"))
	if err != nil || at.Query().Get("upload_id") == "" {
		return nil, core.Errorf(core.ErrUnavailable, "the server began an upload and did not say which")
	}
	// Bytes go to the host that was named, whatever the server calls itself.
	rec, err := s.newRecord(ctx, recordHead{Key: key, Token: token, Started: s.env.Now().UTC(), Target: at.RequestURI()})
	if err != nil {
		return nil, err
	}
	return &session{store: s, record: rec, moved: make(chan struct{}), known: true}, nil
}

// sessions yields those that this machine remembers.
func (s *store) sessions(ctx context.Context, prefix string, yield func(object.Multipart, error) bool) {
	for rec, err := range s.records(ctx, prefix) {
		var m object.Multipart
		if err == nil {
			m = &session{store: s, record: rec, moved: make(chan struct{})}
		}
		if !yield(m, err) {
			return
		}
	}
}

func (m *session) Key() string        { return m.record.Key }
func (m *session) Token() string      { return m.record.Token }
func (m *session) Started() time.Time { return m.record.Started }

// Parts are those of the record that the server has whole. One that another upload has
// cannot be gone on with.
func (m *session) Parts(ctx context.Context) (all []object.Part, err error) {
	if m.record.busy {
		return nil, core.Errorf(core.ErrNotFound, "another upload of %s has its session", m.Key())
	}
	if err := m.ask(ctx); err != nil {
		return nil, err
	}
	if m.through {
		return nil, core.Errorf(core.ErrNotFound, "the upload is through")
	}
	end := int64(0)
	for _, l := range m.record.lines {
		if end += l.Size; end <= m.stored {
			all = append(all, object.Part{Index: l.Index, Offset: end - l.Size, Size: l.Size, CRC64: l.Sum})
		}
	}
	m.mu.Lock()
	m.next = len(all)
	m.mu.Unlock()
	if m.stored > end {
		return nil, nil // bytes of nobody knows what
	}
	return all, nil
}

// Put sends a part when those before it are there. What is left of the last one, when
// whole quanta are sent, goes with the commit.
func (m *session) Put(ctx context.Context, p object.Part, body *io.SectionReader) error {
	if err := m.wait(ctx, p.Index); err != nil {
		return err
	}
	crc, err := sumOf(body, p.CRC64)
	if err != nil {
		return err
	}
	if err := m.ask(ctx); err != nil {
		return err
	}
	l := line{p.Index, p.Size, p.CRC64, crc}
	if err := m.record.add(l, m.stored > p.Offset); err != nil {
		return err
	}
	from, whole := max(0, m.stored-p.Offset), (p.Offset+p.Size)/quantum*quantum-p.Offset
	if m.through || m.stored < p.Offset || from > p.Size {
		return core.Errorf(core.ErrChanged, "the server has %d bytes, and part %d begins at %d", m.stored, p.Index, p.Offset)
	}
	if whole > from {
		span := fmt.Sprintf("bytes %d-%d/*", p.Offset+from, p.Offset+whole-1)
		if _, err := m.send(ctx, span, io.NewSectionReader(body, from, whole-from), ""); err != nil {
			return err
		}
	}
	if m.stored < p.Offset+whole {
		m.known = false
		return core.Errorf(core.ErrUnavailable, "the server took %d bytes of part %d", m.stored-p.Offset, p.Index)
	}
	m.tail = make([]byte, p.Size-max(from, whole))
	if _, err := io.ReadFull(io.NewSectionReader(body, max(from, whole), int64(len(m.tail))), m.tail); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	close(m.moved)
	m.moved = make(chan struct{})
	return nil
}

// wait returns when it is a part's turn. That takes as long as it takes: whoever watches
// for signs of life is told that it waits, as for a connection.
func (m *session) wait(ctx context.Context, index int) error {
	for {
		m.mu.Lock()
		next, moved := m.next, m.moved
		m.mu.Unlock()
		switch {
		case index == next:
			return nil
		case index < next:
			return core.Errorf(core.ErrChanged, "part %d of %s was sent with other bytes", index, m.Key())
		}
		if watch := httptrace.ContextClientTrace(ctx); watch != nil && watch.GetConn != nil {
			watch.GetConn(m.base)
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Commit sends what is left, with the checksum of the whole, which the server compares.
func (m *session) Commit(ctx context.Context, parts []object.Part) (object.Object, error) {
	var size int64
	var crc crc32c
	for i, p := range parts {
		if i >= len(m.record.lines) || m.record.lines[i].Size != p.Size || m.record.lines[i].Sum != p.CRC64 {
			return object.Object{}, core.Errorf(core.ErrChanged, "part %d of %s is not there as it was sent", p.Index, m.Key())
		}
		size, crc = size+p.Size, crc.then(m.record.lines[i].CRC, p.Size)
	}
	if err := m.ask(ctx); err != nil {
		return object.Object{}, err
	}
	if !m.through && m.stored+int64(len(m.tail)) != size {
		return object.Object{}, core.Errorf(core.ErrChanged, "the server has %d bytes of %d of %s", m.stored, size, m.Key())
	}
	span := fmt.Sprintf("bytes */%d", size)
	if len(m.tail) > 0 && !m.through {
		span = fmt.Sprintf("bytes %d-%d/%d", m.stored, size-1, size)
	}
	tail := io.NewSectionReader(bytes.NewReader(m.tail), 0, int64(len(m.tail)))
	o, err := m.send(ctx, span, tail, "crc32c="+crc.String())
	if err != nil {
		return object.Object{}, err
	}
	if o == nil {
		return object.Object{}, core.Errorf(core.ErrUnavailable, "the server took all bytes of %s and made no object", m.Key())
	}
	return m.object(m.Key(), o)
}

// ask finds out what the server has, where that is not known.
func (m *session) ask(ctx context.Context) error {
	if m.known {
		return nil
	}
	_, err := m.send(ctx, "bytes */*", io.NewSectionReader(strings.NewReader(""), 0, 0), "")
	return err
}

// send makes a request of the session, and learns what the server has then. The object
// is nil where the upload is not through. A session that has ended is forgotten.
func (m *session) send(ctx context.Context, span string, body *io.SectionReader, hash string) (*raw.Object, error) {
	m.known = false
	q, err := http.NewRequestWithContext(ctx, http.MethodPut, m.base+m.record.Target, struct{ io.Reader }{body})
	if err != nil {
		return nil, err
	}
	q.ContentLength = body.Size()
	if body.Size() == 0 {
		q.Body = http.NoBody
	}
	q.Header.Set("Content-Range", span)
	if hash != "" {
		q.Header.Set("X-Goog-Hash", hash)
	}
	r, err := m.bare.Do(q)
	if err != nil {
		return nil, translate(opSession, err)
	}
	defer r.Body.Close()
	if r.StatusCode == http.StatusPermanentRedirect { // which is not what it is called
		m.known = true
		m.stored, err = storedBytes(r.Header.Get("Range"))
		return nil, err
	}
	made := new(raw.Object)
	if err = googleapi.CheckResponse(r); err == nil {
		err = json.NewDecoder(r.Body).Decode(made)
	}
	switch err = translate(opSession, err); {
	case err == nil:
		m.known, m.through = true, true
		m.record.forget()
	case !core.KindOf(err).Temporary():
		m.record.forget()
	}
	return made, err
}

// storedBytes reads "bytes=0-N", or nothing, which is no bytes.
func storedBytes(header string) (int64, error) {
	if header == "" {
		return 0, nil
	}
	text, ok := strings.CutPrefix(header, "bytes=0-")
	last, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil {
		return 0, core.Errorf(core.ErrUnavailable, "the server has %q of an upload", header)
	}
	return last + 1, nil
}

// Abort cancels the session, unless another upload has it: 499 says that it is done.
func (m *session) Abort(ctx context.Context) error {
	if m.record.busy {
		return nil
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodDelete, m.base+m.record.Target, nil)
	if err != nil {
		return err
	}
	r, err := m.bare.Do(q)
	if err != nil {
		return translate(opSession, err)
	}
	defer r.Body.Close()
	if err := googleapi.CheckResponse(r); err != nil && r.StatusCode != 499 {
		if err = translate(opSession, err); core.KindOf(err).Temporary() {
			return err
		}
	}
	m.record.forget()
	return nil
}
