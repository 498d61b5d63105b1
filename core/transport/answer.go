package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// Client returns a client that follows no redirect: what was meant for one host,
// credentials among it, is not for another.
func Client(below http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     below,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// A Quiet is the cause of a core.Error whose Detail tells it in fewer words.
type Quiet struct{ Cause error }

func (Quiet) Error() string   { return "" }
func (q Quiet) Unwrap() error { return q.Cause }

// RetryAfter reads the header of that name in both of its forms, of which one is by
// the server's own clock (RFC 9110, 10.2.3); 0 where there is none.
func RetryAfter(h http.Header) time.Duration {
	if n, err := strconv.ParseUint(h.Get("Retry-After"), 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(h.Get("Retry-After"))
	now, e := http.ParseTime(h.Get("Date"))
	if err != nil || e != nil {
		return 0
	}
	return max(0, at.Sub(now))
}

// Unanswered says what became of a request that got no answer, or half of one:
// ErrUnavailable, and ErrUnauthenticated of a certificate that is not trusted. lookAt
// is what a person looks at where there is no such host.
func Unanswered(err error, lookAt string) *core.Error {
	e := &core.Error{Kind: core.ErrUnavailable, Err: err}
	host := ""
	if u := (*url.Error)(nil); errors.As(err, &u) {
		if parsed, err := url.Parse(u.URL); err == nil {
			host = parsed.Host
		}
		e.Detail, e.Err = host+": "+u.Err.Error(), Quiet{err}
	}
	var certificate *tls.CertificateVerificationError
	var name *net.DNSError
	switch {
	case errors.As(err, &certificate):
		e.Kind = core.ErrUnauthenticated
		e.Detail = fmt.Sprintf("the certificate of %s is not trusted: %v (one that is your own is named by ca_bundle)", host, certificate.Err)
	case errors.As(err, &name) && name.IsNotFound:
		e.Detail = fmt.Sprintf("there is no host %s: look at %s", name.Name, lookAt)
	}
	return e
}

// statuses are what a status means that is no provider's code.
var statuses = map[int]core.ErrorKind{
	http.StatusUnauthorized:                 core.ErrUnauthenticated,
	http.StatusForbidden:                    core.ErrDenied,
	http.StatusNotFound:                     core.ErrNotFound,
	http.StatusRequestTimeout:               core.ErrUnavailable,
	http.StatusConflict:                     core.ErrUnavailable, // somebody else is at the same object
	http.StatusPreconditionFailed:           core.ErrExists,
	http.StatusRequestedRangeNotSatisfiable: core.ErrChanged,
	http.StatusTooManyRequests:              core.ErrThrottled,
	http.StatusNotImplemented:               core.ErrUnsupported,
	http.StatusInsufficientStorage:          core.ErrNoSpace,
}

// Kind is what the status of a refusal means where the provider's code does not say it:
// what a client got wrong, redirects among it, is ErrUnsupported, and what the server did
// ErrUnavailable.
func Kind(status int) core.ErrorKind {
	if k, ok := statuses[status]; ok {
		return k
	}
	if status >= 300 && status < 500 {
		return core.ErrUnsupported
	}
	return core.ErrUnavailable
}

// Moved says where a redirect points, which is not followed: what was meant for one host
// is not for another. lookAt is what a person looks at where it points nowhere.
func Moved(h http.Header, lookAt string) string {
	to, err := url.Parse(h.Get("Location"))
	if err != nil || to.Host == "" {
		return "(the server points to another place and does not say where: look at " + lookAt + ")"
	}
	return fmt.Sprintf("(the server points to %s://%s, and redirects are not followed: give the endpoint that is meant)", to.Scheme, to.Host)
}

// Loopback says whether a host is this machine, to which secrets go without TLS.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// A Body is what a server sends, which may end early in more ways than one.
type Body struct {
	io.ReadCloser
	Left      int64             // bytes that are still to come
	Translate func(error) error // of errors; io.EOF is none
}

// Read gives io.EOF only after all bytes came.
func (b *Body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.Left -= int64(n)
	if err == io.EOF && b.Left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		err = b.Translate(err)
	}
	return n, err
}
