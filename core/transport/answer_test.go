package transport_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
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
