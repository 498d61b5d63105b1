package gcs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

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

// askAgain forgets how archives go up, where a part could not be deleted.
func (s *store) askAgain(ctx context.Context) error {
	if err := s.asking.take(ctx); err != nil {
		return err
	}
	defer s.asking.give()
	s.session = nil
	return nil
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
		return s.partsStay(ctx)
	}
	b, err := s.settings(ctx)
	if err != nil {
		return "", err
	}
	return keepsParts(b), nil
}

// settings are what the bucket is like. Its access control, which takes more rights to
// see, is left out.
func (s *store) settings(ctx context.Context) (*raw.Bucket, error) {
	b, err := s.raw.Buckets.Get(s.config.Bucket).Projection("noAcl").Context(ctx).Do()
	return b, translate(opBucket, err)
}

// partsStay says why parts would stay, by one that an upload left, or "".
func (s *store) partsStay(ctx context.Context) (why string, err error) {
	all, err := s.raw.Objects.List(s.config.Bucket).Prefix(s.prefix + tmp).MaxResults(1).Fields("items(retentionExpirationTime,eventBasedHold)").Context(ctx).Do()
	if err = translate(opList, err); errors.Is(err, core.ErrDenied) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, o := range all.Items {
		until, err := time.Parse(time.RFC3339, o.RetentionExpirationTime)
		if o.EventBasedHold || err == nil && until.After(s.env.Now()) {
			return "the bucket keeps the parts of an earlier upload", nil
		}
	}
	return "", nil
}

// keepsParts says why a bucket would keep parts, or "".
func keepsParts(b *raw.Bucket) string {
	switch {
	case b.RetentionPolicy != nil:
		return fmt.Sprintf("the bucket keeps each object for %v", seconds(b.RetentionPolicy.RetentionPeriod))
	case b.DefaultEventBasedHold:
		return "the bucket puts each object under a hold"
	}
	switch b.StorageClass {
	case "NEARLINE", "COLDLINE", "ARCHIVE":
		return "parts of class " + b.StorageClass + " are paid for longer than they live"
	}
	return ""
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

// A session is an archive that goes up in one stream, part after part. How many bytes
// there are, the server knows; whose they are, the record says, where there is one.
type session struct {
	*store
	record *record
	life   context.Context // of the upload that found or began it
	mine   bool            // whether the record is that upload's

	known   bool   // whether stored is what the server has
	stored  int64  // bytes
	through bool   // whether the server has made the object
	tail    []byte // of the last part: what is less than a quantum
}

var (
	_ object.Multipart = (*session)(nil)
	_ object.Ordered   = (*session)(nil)
)

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
	said, err := s.do(opInsert, q, nil)
	if err != nil {
		return nil, err
	}
	at, err := url.Parse(said.Get("Location"))
	if err != nil || at.Query().Get("upload_id") == "" {
		return nil, core.Errorf(core.ErrUnavailable, "the server began an upload and did not say which")
	}
	// Bytes go to the host that was named, whatever the server calls itself.
	rec, err := s.newRecord(recordHead{Key: key, Token: token, Started: s.env.Now().UTC(), Target: at.RequestURI()})
	if err != nil {
		return nil, err
	}
	m := &session{store: s, record: rec, life: ctx, mine: rec.file == ""}
	err = m.claim()
	m.known = true // there is nothing yet
	return m, err
}

// sessions yields those that this machine remembers.
func (s *store) sessions(ctx context.Context, prefix string, yield func(object.Multipart, error) bool) {
	all, err := s.records(prefix)
	for _, r := range all {
		if !yield(&session{store: s, record: r, life: ctx}, nil) {
			return
		}
	}
	if err != nil {
		yield(nil, err)
	}
}

func (m *session) Key() string        { return m.record.Key }
func (m *session) Token() string      { return m.record.Token }
func (m *session) Started() time.Time { return m.record.Started }
func (m *session) InOrder() bool      { return true }

// claim makes the session this upload's, when it is to be changed.
func (m *session) claim() error {
	if m.mine {
		return nil
	}
	err := m.store.claim(m.life, m.record)
	m.mine, m.known = err == nil, false
	return err
}

// Parts are those of the record that the server has whole. A session that an upload has
// cannot be gone on with.
func (m *session) Parts(ctx context.Context) (all []object.Part, err error) {
	if !m.mine {
		err, m.known = m.free(m.record), false
	}
	if err == nil {
		err = m.ask(ctx)
	}
	if err == nil && m.through {
		err = core.Errorf(core.ErrNotFound, "the upload is through")
	}
	if err != nil {
		return nil, err
	}
	end := int64(0)
	for _, l := range m.record.lines {
		if end += l.Size; end <= m.stored {
			all = append(all, object.Part{Index: l.Index, Offset: end - l.Size, Size: l.Size, CRC64: l.Sum})
		}
	}
	if m.stored > end {
		return nil, nil // bytes of nobody knows what
	}
	return all, nil
}

// Put sends a part behind those that are there. What is left of the last one, when whole
// quanta are sent, goes with the commit.
func (m *session) Put(ctx context.Context, p object.Part, body *io.SectionReader) error {
	crc, err := sumOf(body, p.CRC64)
	if err == nil {
		err = m.claim()
	}
	if err == nil {
		err = m.ask(ctx)
	}
	if err == nil {
		err = m.record.add(line{p.Index, p.Size, p.CRC64, crc}, m.stored > p.Offset)
	}
	if err != nil {
		return err
	}
	end := p.Offset + p.Size
	whole := end / quantum * quantum
	if m.through || m.stored < p.Offset {
		return core.Errorf(core.ErrChanged, "the server has %d bytes, and part %d begins at %d", m.stored, p.Index, p.Offset)
	}
	if from := m.stored; from < whole {
		span := fmt.Sprintf("bytes %d-%d/*", from, whole-1)
		if _, err := m.send(ctx, http.MethodPut, span, io.NewSectionReader(body, from-p.Offset, whole-from), ""); err != nil {
			return err
		}
	}
	if m.stored < whole {
		m.known = false
		return core.Errorf(core.ErrUnavailable, "the server took %d bytes of part %d", m.stored-p.Offset, p.Index)
	}
	left := max(0, end-m.stored)
	m.tail = make([]byte, left)
	_, err = io.ReadFull(io.NewSectionReader(body, p.Size-left, left), m.tail)
	return err
}

// Commit sends what is left, with the checksum of the whole, which the server compares.
func (m *session) Commit(ctx context.Context, parts []object.Part) (object.Object, error) {
	var size int64
	var crc crc32c
	err := m.claim()
	for i, p := range parts {
		if err == nil && (i >= len(m.record.lines) || m.record.lines[i].Size != p.Size || m.record.lines[i].Sum != p.CRC64) {
			err = core.Errorf(core.ErrChanged, "part %d of %s is not there as it was sent", p.Index, m.Key())
		}
		if err != nil {
			return object.Object{}, err
		}
		size, crc = size+p.Size, crc.then(m.record.lines[i].CRC, p.Size)
	}
	if err := m.ask(ctx); err != nil {
		return object.Object{}, err
	}
	left := size - m.stored // of the tail, of which an answer that was lost may have taken some
	if m.through {
		left = 0
	}
	if left < 0 || left > int64(len(m.tail)) {
		return object.Object{}, core.Errorf(core.ErrChanged, "the server has %d bytes of %d of %s", m.stored, size, m.Key())
	}
	span := fmt.Sprintf("bytes */%d", size)
	if left > 0 {
		span = fmt.Sprintf("bytes %d-%d/%d", m.stored, size-1, size)
	}
	tail := io.NewSectionReader(bytes.NewReader(m.tail), int64(len(m.tail))-left, left)
	o, err := m.send(ctx, http.MethodPut, span, tail, "crc32c="+crc.String())
	if err != nil {
		return object.Object{}, err
	}
	if !m.through {
		return object.Object{}, core.Errorf(core.ErrUnavailable, "the server took all bytes of %s and made no object", m.Key())
	}
	return m.made(ctx, m.resource(m.Key(), m.Token(), 0, crc), o)
}

// ask finds out what the server has, where that is not known.
func (m *session) ask(ctx context.Context) error {
	if m.known {
		return nil
	}
	_, err := m.send(ctx, http.MethodPut, "bytes */*", io.NewSectionReader(strings.NewReader(""), 0, 0), "")
	return err
}

// cancelled is how a server says that a session was: a status of nobody's standard.
const cancelled = 499

// send makes a request of the session, and learns what the server has then. What it
// answers is the object when it is through. A session that has ended is forgotten; one
// that was refused for now stays, as whoever goes on with it wants it.
func (m *session) send(ctx context.Context, method, span string, body *io.SectionReader, hash string) (*raw.Object, error) {
	m.known = false
	q, err := http.NewRequestWithContext(ctx, method, m.base+m.record.Target, struct{ io.Reader }{body})
	if err != nil {
		return nil, err
	}
	q.ContentLength = body.Size()
	if body.Size() == 0 {
		q.Body = http.NoBody
	}
	for name, value := range map[string]string{"Content-Range": span, "X-Goog-Hash": hash} {
		if value != "" {
			q.Header.Set(name, value)
		}
	}
	o := new(raw.Object)
	_, err = m.do(opSession, q, o)
	var answer *googleapi.Error
	switch {
	case err == nil:
		m.known, m.through = true, true
		m.forget(m.record)
	case !errors.As(err, &answer):
	case answer.Code == http.StatusPermanentRedirect: // which is not what it is called
		m.stored, err = storedBytes(answer.Header.Get("Range"))
		m.known = err == nil
	case answer.Code == cancelled:
		m.forget(m.record)
		return nil, nil
	default:
		if ended[core.KindOf(err)] {
			m.forget(m.record)
		}
	}
	return o, err
}

// ended are the errors after which a session is of no more use. Others are of who asks,
// or of the place as it is now.
var ended = map[core.ErrorKind]bool{core.ErrNotFound: true, core.ErrExists: true, core.ErrDamaged: true, core.ErrChanged: true}

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

// Abort cancels the session, unless another upload has it.
func (m *session) Abort(ctx context.Context) error {
	err := m.claim()
	if err == nil {
		_, err = m.send(ctx, http.MethodDelete, "", io.NewSectionReader(strings.NewReader(""), 0, 0), "")
	}
	if errors.Is(err, core.ErrNotFound) {
		return nil
	}
	return err
}
