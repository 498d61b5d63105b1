package reference

import (
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// What goes over the wire. The path of a request is the key, its query has the
// operation and what that needs, its body the bytes, and a header their checksum.
// A range of an object is the body of its answer; every other answer is JSON.

// methods are the HTTP method of each operation.
var methods = map[op]string{
	put: http.MethodPut, replace: http.MethodPut, get: http.MethodGet, stat: http.MethodHead, list: http.MethodGet,
	remove: http.MethodDelete, begin: http.MethodPost, putPart: http.MethodPut, parts: http.MethodGet,
	commit: http.MethodPost, abort: http.MethodDelete, uploads: http.MethodGet,
}

// The headers of our own.
const (
	headerSum  = "Crc64nvme" // of a request's body, or of an object
	headerMode = "Mode"      // of an object
	requestID  = "Request-Id"
)

// An answer is the JSON of every answer that is no object.
type answer struct {
	Keys    []string         `json:"keys,omitempty"`
	Sizes   map[string]int64 `json:"sizes,omitempty"`
	More    bool             `json:"more,omitempty"`
	Next    string           `json:"next,omitempty"`
	Uploads []upload         `json:"uploads,omitempty"`
	Parts   []held           `json:"parts,omitempty"`
	Size    int64            `json:"size,omitempty"`
	Version int64            `json:"version,omitempty"`
	Error   core.ErrorKind   `json:"error,omitempty"`
	Message string           `json:"message,omitempty"`
}

// statuses are what each kind of error looks like. A code in the JSON says more.
var statuses = map[core.ErrorKind]int{
	core.ErrNotFound: http.StatusNotFound, core.ErrNoPlace: http.StatusNotFound, core.ErrExists: http.StatusConflict,
	core.ErrChanged: http.StatusPreconditionFailed, core.ErrDenied: http.StatusForbidden, core.ErrClock: http.StatusForbidden,
	core.ErrUnauthenticated: http.StatusUnauthorized, core.ErrThrottled: http.StatusTooManyRequests,
	core.ErrNoSpace: http.StatusInsufficientStorage, core.ErrLocked: http.StatusLocked, core.ErrInvalid: http.StatusBadRequest,
	core.ErrUnsupported: http.StatusNotImplemented, core.ErrUnavailable: http.StatusServiceUnavailable,
}

// kindOf is the kind of an error status.
func kindOf(status int) core.ErrorKind {
	switch status {
	case http.StatusNotFound:
		return core.ErrNotFound
	case http.StatusForbidden:
		return core.ErrDenied
	}
	for kind, s := range statuses {
		if s == status {
			return kind
		}
	}
	switch {
	case status == http.StatusRequestTimeout, status >= 500:
		return core.ErrUnavailable
	case status >= 300 && status < 400:
		return core.ErrNoPlace // another one would be asked, and told our secret
	}
	return core.ErrUnsupported
}

// A refusal is the error that an answer tells. Who names the call copies what it
// says of itself.
type refusal struct {
	kind            core.ErrorKind
	message         string
	code, requestID string
	after           time.Duration
}

func (r *refusal) Error() string {
	if r.message == "" {
		return string(r.kind)
	}
	return r.message
}

func (r *refusal) Unwrap() error { return r.kind }

func refused(h http.Header, status int, a answer) error {
	r := &refusal{kind: kindOf(status), message: a.Message, code: strconv.Itoa(status), requestID: h.Get(requestID)}
	if _, known := statuses[a.Error]; known {
		r.kind, r.code = a.Error, string(a.Error)
	}
	if seconds, err := strconv.Atoi(h.Get("Retry-After")); err == nil {
		r.after = time.Duration(seconds) * time.Second
	}
	if status >= 300 && status < 400 {
		r.message = "it sends its callers elsewhere, where we do not go"
	}
	return r
}

// etag is a version as a header, and versionOf the reverse.
func etag(version int64) string { return strconv.Quote(strconv.FormatInt(version, 10)) }

func versionOf(tag string) int64 {
	version, _ := strconv.ParseInt(strings.Trim(tag, `"`), 10, 64) // 0 is no version
	return version
}

// span is a range of an object as a request says it, and told as an answer does.
func span(off, n int64) string { return fmt.Sprintf("bytes=%d-%d", off, off+n-1) }

func told(off, n, size int64) string { return fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, size) }

func modeOf(text string) fs.FileMode {
	mode, _ := strconv.ParseUint(text, 8, 32) // 0 is no mode
	return fs.FileMode(mode)
}

func sumText(sum core.CRC64) string { return fmt.Sprintf("%016x", uint64(sum)) }

func sumsOf(text string) []core.CRC64 {
	var sum core.CRC64
	if sum.UnmarshalText([]byte(text)) != nil {
		return nil
	}
	return []core.CRC64{sum}
}
