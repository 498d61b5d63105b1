package s3

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// refusals are what servers answer to what they do not grant.
var refusals = []struct {
	status int
	code   string
	want   core.ErrorKind
}{
	{301, "PermanentRedirect", core.ErrUnsupported},
	{307, "TemporaryRedirect", core.ErrUnsupported},
	{400, "AuthorizationHeaderMalformed", core.ErrUnsupported},
	{400, "BadDigest", core.ErrDamaged},
	{400, "EntityTooLarge", core.ErrUnsupported},
	{400, "ExpiredToken", core.ErrUnauthenticated},
	{400, "InvalidPart", core.ErrUnavailable},
	{400, "InvalidRequest", core.ErrUnsupported},
	{400, "KMS.DisabledException", core.ErrUnsupported},
	{400, "RequestTimeout", core.ErrUnavailable},
	{400, "XAmzContentChecksumMismatch", core.ErrDamaged},
	{400, "XMinioAdminBucketQuotaExceeded", core.ErrNoSpace},
	{401, "Unauthorized", core.ErrUnauthenticated},
	{403, "AccessDenied", core.ErrDenied},
	{403, "InvalidAccessKeyId", core.ErrUnauthenticated},
	{403, "InvalidObjectState", core.ErrUnsupported},
	{403, "QuotaExceeded", core.ErrNoSpace},
	{403, "RequestTimeTooSkewed", core.ErrClock},
	{403, "SignatureDoesNotMatch", core.ErrUnauthenticated},
	{404, "NoSuchBucket", core.ErrNoPlace},
	{404, "NoSuchKey", core.ErrNotFound},
	{404, "NoSuchUpload", core.ErrNotFound},
	{405, "MethodNotAllowed", core.ErrUnsupported},
	{408, "RequestTimeout", core.ErrUnavailable},
	{409, "ConditionalRequestConflict", core.ErrUnavailable},
	{412, "PreconditionFailed", core.ErrExists},
	{416, "InvalidRange", core.ErrChanged},
	{429, "TooManyRequests", core.ErrThrottled},
	{500, "InternalError", core.ErrUnavailable},
	{501, "NotImplemented", core.ErrUnsupported},
	{502, "BadGateway", core.ErrUnavailable},
	{503, "ServiceUnavailable", core.ErrUnavailable},
	{503, "SlowDown", core.ErrThrottled},
	{504, "GatewayTimeout", core.ErrUnavailable},
	{507, "XMinioStorageFull", core.ErrNoSpace},
}

// TestKinds goes through what servers answer.
func TestKinds(t *testing.T) {
	signIn(t, fakeKey)
	for _, test := range refusals {
		s := driver(t, configured(t, "bucket", ""), core.Env{Transport: prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
			return refuse(q, test.status, test.code), nil
		})})
		what := fmt.Sprintf("%d %s", test.status, test.code)
		m := &multipart{store: s, key: "data/x", id: "upload"}
		_, err := m.Parts(t.Context())
		prove.Kind(t, what, err, test.want)
		var e *core.Error
		if !errors.As(err, &e) || e.Code != test.code || e.RequestID != requestID || strings.Count(err.Error(), test.code) != 1 {
			t.Errorf("%s: the error is %v, want code and request once", what, err)
		}
		// HEAD is answered without a code.
		_, err = s.Stat(t.Context(), "data/x")
		if got := core.KindOf(err); got != test.want && !(got.Temporary() && test.want.Temporary()) {
			t.Errorf("%s to HEAD and GET: %v, want %q", what, err, test.want)
		}
	}
}

// What a server adds is passed on: when to come again, where to go, what it takes
// the time for, which right is missing.
func TestAdvice(t *testing.T) {
	signIn(t, fakeKey)
	for _, test := range []struct {
		status int
		code   string
		header http.Header
		after  time.Duration
		text   string
	}{
		{503, "SlowDown", http.Header{"Retry-After": {"7"}}, 7 * time.Second, "By the test."},
		{503, "SlowDown", http.Header{"Retry-After": {"Mon, 23 Nov 2026 09:00:30 GMT"}, "Date": {"Mon, 23 Nov 2026 09:00:00 GMT"}}, 30 * time.Second, ""},
		{503, "SlowDown", http.Header{"Retry-After": {"Mon, 23 Nov 2026 09:00:30 GMT"}, "Date": {"Mon, 23 Nov 2026 10:00:00 GMT"}}, 0, ""},
		{503, "SlowDown", http.Header{"Retry-After": {"soon"}}, 0, ""},
		{503, "SlowDown", http.Header{"Retry-After": {"-1"}}, 0, ""},
		{301, "PermanentRedirect", http.Header{"X-Amz-Bucket-Region": {"eu-north-1"}}, 0, "give region=eu-north-1"},
		{307, "TemporaryRedirect", http.Header{"Location": {"https://other.example/bucket/x?y"}}, 0, "the server points to https://other.example, and redirects are not followed"},
		{302, "Found", nil, 0, "look at region and endpoint"},
		{403, "AccessDenied", nil, 0, "(this needs the right s3:ListBucket)"},
		{403, "RequestTimeTooSkewed", http.Header{"Date": {"Mon, 23 Nov 2026 09:00:00 GMT"}}, 0, "the server says that it is Mon, 23 Nov 2026 09:00:00 GMT: set this machine's clock"},
	} {
		s := driver(t, configured(t, "bucket", ""), core.Env{Transport: prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
			r := refuse(q, test.status, test.code)
			for k, v := range test.header {
				r.Header[k] = v
			}
			return r, nil
		})})
		for _, err := range s.List(t.Context(), "meta/", "") {
			var e *core.Error
			if !errors.As(err, &e) || e.RetryAfter != test.after || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%s %v: %v with %v; want %q and %v", test.code, test.header, err, e.RetryAfter, test.text, test.after)
			}
		}
	}
}

// TestNoAnswer goes through what happens where no server answers.
func TestNoAnswer(t *testing.T) {
	signIn(t, fakeKey)
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for what, test := range map[string]struct {
		err  error
		want core.ErrorKind
		text string
	}{
		"refused":     {refused, core.ErrUnavailable, "s3.example: dial tcp: connect: connection refused"},
		"reset":       {&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, core.ErrUnavailable, "reset by peer"},
		"time":        {&net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}, core.ErrUnavailable, "i/o timeout"},
		"end":         {io.ErrUnexpectedEOF, core.ErrUnavailable, "unexpected EOF"},
		"no name":     {&net.DNSError{Name: "s3.example", IsNotFound: true}, core.ErrUnavailable, "there is no host s3.example: look at region and endpoint"},
		"no resolver": {&net.DNSError{Name: "s3.example", IsTemporary: true, Err: "server misbehaving"}, core.ErrUnavailable, "server misbehaving"},
		"certificate": {&tls.CertificateVerificationError{Err: errors.New("x509: unknown")}, core.ErrUnauthenticated, "the certificate of s3.example is not trusted: x509: unknown (one that is your own is named by ca_bundle)"},
	} {
		s := driver(t, configured(t, "bucket", "endpoint=https://s3.example"), core.Env{Transport: prove.RoundTripper(func(*http.Request) (*http.Response, error) { return nil, test.err })})
		_, err := s.Stat(t.Context(), "data/x")
		prove.Kind(t, what, err, test.want)
		if err == nil || !strings.Contains(err.Error(), test.text) || !errors.Is(err, test.err) {
			t.Errorf("%s: %v, want %q", what, err, test.text)
		}
	}
}
