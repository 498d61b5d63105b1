package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
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
