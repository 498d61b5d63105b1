package transport_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transport"
)

func TestRetryAfter(t *testing.T) {
	const date = "Mon, 23 Nov 2026 04:59:00 GMT"
	for _, c := range []struct {
		after, date string
		want        time.Duration
	}{
		{"", date, 0},
		{"7", "", 7 * time.Second},
		{"-7", "", 0},
		{"99999999999", "", 0},
		{"Mon, 23 Nov 2026 05:00:30 GMT", date, 90 * time.Second},
		{"Mon, 23 Nov 2026 04:00:00 GMT", date, 0},
		{"Mon, 23 Nov 2026 05:00:30 GMT", "", 0},
		{"soon", date, 0},
	} {
		h := http.Header{"Retry-After": {c.after}, "Date": {c.date}}
		if got := transport.RetryAfter(h); got != c.want {
			t.Errorf("%q at %q: %v, want %v", c.after, c.date, got, c.want)
		}
	}
}

// TestUnanswered asks where nobody answers, and where nobody is to be trusted.
func TestUnanswered(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := http.NewResponseController(w).Hijack()
		conn.Close()
	}))
	defer cut.Close()
	stranger := httptest.NewTLSServer(nil)
	defer stranger.Close()
	stranger.Config.ErrorLog = nil
	for url, want := range map[string]struct {
		kind core.ErrorKind
		text string
	}{
		closed.URL:                     {core.ErrUnavailable, "refused"},
		cut.URL:                        {core.ErrUnavailable, "EOF"},
		stranger.URL:                   {core.ErrUnauthenticated, "is not trusted"},
		"http://there-is-none.invalid": {core.ErrUnavailable, "look at the map"},
	} {
		own, err := transport.New(transport.Options{Connections: 1})
		if err != nil {
			t.Fatal(err)
		}
		_, err = transport.Client(own).Get(url + "/?sig=canary")
		got := transport.Unanswered(err, "the map")
		if !errors.Is(got, want.kind) || !strings.Contains(got.Error(), want.text) || strings.Contains(got.Error(), "canary") {
			t.Errorf("%s: %v, want %s, %q", url, got, want.kind, want.text)
		}
		if !errors.Is(got, err) {
			t.Errorf("%s: the cause is lost", url)
		}
	}
}

// TestClientStays does not go where it is sent.
func TestClientStays(t *testing.T) {
	there := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { there = true }))
	defer other.Close()
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	r, err := transport.Client(http.DefaultTransport).Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	if r.Body.Close(); r.StatusCode != http.StatusTemporaryRedirect || there {
		t.Errorf("status %d, there: %v", r.StatusCode, there)
	}
}

func TestKind(t *testing.T) {
	for status, want := range map[int]core.ErrorKind{
		307: core.ErrUnsupported, 400: core.ErrUnsupported, 401: core.ErrUnauthenticated, 403: core.ErrDenied,
		404: core.ErrNotFound, 405: core.ErrUnsupported, 408: core.ErrUnavailable, 409: core.ErrUnavailable,
		412: core.ErrExists, 416: core.ErrChanged, 429: core.ErrThrottled, 500: core.ErrUnavailable,
		501: core.ErrUnsupported, 503: core.ErrUnavailable, 507: core.ErrNoSpace, 0: core.ErrUnavailable, 200: core.ErrUnavailable,
	} {
		if got := transport.Kind(status); got != want {
			t.Errorf("%d is %q, want %q", status, got, want)
		}
	}
}

// Of where a redirect points nothing is told but the host.
func TestMoved(t *testing.T) {
	for location, want := range map[string]string{
		"":                                  "does not say where: look at the map)",
		"/elsewhere":                        "does not say where: look at the map)",
		"%":                                 "does not say where: look at the map)",
		"https://u:canary@h:1/p?sig=canary": "points to https://h:1, and redirects are not followed",
	} {
		got := transport.Moved(http.Header{"Location": {location}}, "the map")
		if !strings.Contains(got, want) || strings.Contains(got, "canary") {
			t.Errorf("%q: %s, want %q", location, got, want)
		}
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true,
		"": false, "127.0.0.1.example.net": false, "localhost.example.net": false, "10.0.0.1": false,
	} {
		if got := transport.Loopback(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

// What ends early is no end.
func TestBody(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		body io.Reader
		want error
	}{
		"whole":  {strings.NewReader("12345"), nil},
		"short":  {strings.NewReader("1234"), io.ErrUnexpectedEOF},
		"broken": {io.MultiReader(strings.NewReader("12"), iotest.ErrReader(broken)), broken},
		"eof":    {iotest.DataErrReader(strings.NewReader("12345")), nil},
	} {
		_, err := io.ReadAll(&transport.Body{ReadCloser: io.NopCloser(test.body), Left: 5, Translate: func(err error) error {
			return core.Errorf(core.ErrUnavailable, "translated: %w", err)
		}})
		if !errors.Is(err, test.want) || (err != nil) != (test.want != nil) || err != nil && !errors.Is(err, core.ErrUnavailable) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}
