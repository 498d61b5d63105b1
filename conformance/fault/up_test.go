package fault_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/fault"
)

// reset says whether an error is what a reset looks like.
func reset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)
}

// A oneTime body cannot be sent again, so that net/http repeats nothing by itself.
type oneTime struct {
	io.Reader
	size int64
}

func put(c *http.Client, p *fault.Proxy) (int, []byte, error) {
	return get(c, p, "PUT", "/b", nil, oneTime{bytes.NewReader(content), int64(len(content))})
}

func TestUp(t *testing.T) {
	n := int64(len(content))
	flipped := func(at int64) []byte {
		b := bytes.Clone(content)
		b[at] ^= 1
		return b
	}
	for _, c := range []struct {
		fault  fault.Fault
		fails  bool
		status int
		stores []byte // nil for nothing
	}{
		{fault.Reset(), true, 0, nil},
		{fault.ResetUp(0), true, 0, nil},
		{fault.ResetUp(1000), true, 0, nil},
		{fault.ResetUp(-1), true, 0, nil},
		{fault.Lost(), true, 0, content},
		{fault.Answer(503, http.Header{"Retry-After": {"1"}}, "slow down"), false, 503, nil},
		{fault.Instead(500, nil, "oops"), false, 500, content},
		{fault.Redirect("http://127.0.0.1:1"), false, 307, nil},
		{fault.FlipUp(0), false, 200, flipped(0)},
		{fault.FlipUp(100_000), false, 200, flipped(100_000)},
		{fault.FlipUp(-1), false, 200, flipped(n - 1)},
		{fault.SlowUp(64 << 20), false, 200, content},
		{fault.Delay(time.Millisecond), false, 200, content},
	} {
		t.Run(c.fault.String(), func(t *testing.T) {
			s, p, client := rig(t)
			r := &fault.Rule{Skip: 1, Fault: c.fault}
			p.Arm(r)
			for i := range 3 {
				before := s.stored()
				status, got, err := put(client, p)
				if i != 1 {
					if err != nil || status != 200 || !bytes.Equal(s.body(before), content) {
						t.Errorf("request %d: %d, %v", i, status, err)
					}
					continue
				}
				if c.fails != (err != nil) || c.fails && !reset(err) || status != c.status {
					t.Errorf("%d, %q, %v", status, got, err)
				}
				if whole := s.stored() > before; whole != (c.stores != nil) || whole && !bytes.Equal(s.body(before), c.stores) {
					t.Errorf("the server stored it: %v", whole)
				}
			}
			if r.Fired() != 1 {
				t.Errorf("fired %d times", r.Fired())
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	s, p, c := rig(t)
	p.Arm(&fault.Rule{Times: fault.Always, Fault: fault.Answer(429, http.Header{"Retry-After": {"7"}, "X-Code": {"SlowDown"}}, "body")})
	for _, method := range []string{"GET", "HEAD", "PUT"} {
		for _, expect := range []string{"", "100-continue"} {
			r, _ := http.NewRequest(method, "http://"+p.Addr()+"/x", nil)
			if method == "PUT" {
				r.Body = io.NopCloser(bytes.NewReader(content))
			}
			if expect != "" {
				r.Header.Set("Expect", expect)
			}
			resp, err := c.Do(r)
			if err != nil {
				t.Fatalf("%s: %v", method, err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			want := "body"
			if method == "HEAD" {
				want = ""
			}
			if err != nil || resp.StatusCode != 429 || string(body) != want || resp.Header.Get("Retry-After") != "7" || resp.ContentLength != 4 {
				t.Errorf("%s: %d, %q, %v", method, resp.StatusCode, body, err)
			}
		}
	}
	if s.last != nil {
		t.Error("the server saw a request")
	}
	p.Arm(&fault.Rule{Fault: fault.Redirect("http://elsewhere.invalid")})
	r, _ := http.NewRequest("GET", "http://"+p.Addr()+"/a%2Fb?c=d", nil)
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if to := resp.Header.Get("Location"); to != "http://elsewhere.invalid/a%2Fb?c=d" {
		t.Error(to)
	}
}
