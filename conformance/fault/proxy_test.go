package fault_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/fault"
)

// content is what the server has under every path.
var content = bytes.Repeat([]byte("0123456789abcdef"), 16<<10)

// A server keeps what was put there last, and gives content.
type server struct {
	*httptest.Server
	mu   sync.Mutex
	puts [][]byte // bodies that came whole
	cut  int      // bodies that did not
	last *http.Request
}

func newServer(t *testing.T) *server {
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.last = r
		switch {
		case err != nil:
			s.cut++
		case r.Method == http.MethodPut:
			s.puts = append(s.puts, body)
			_, _ = io.WriteString(w, "stored")
		case r.URL.Path == "/chunked":
			for piece := range slices.Chunk(content, 1000) {
				_, _ = w.Write(piece)
				w.(http.Flusher).Flush()
			}
		default:
			http.ServeContent(w, r, "content.bin", time.Time{}, bytes.NewReader(content))
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) stored() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.puts)
}

func start(t *testing.T, o fault.Options) *fault.Proxy {
	t.Helper()
	p, err := fault.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// rig is a server, the proxy before it and a client.
func rig(t *testing.T) (*server, *fault.Proxy, *http.Client) {
	s := newServer(t)
	p := start(t, fault.Options{Upstream: s.Listener.Addr().String()})
	return s, p, client(t)
}

func client(t *testing.T) *http.Client {
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// get reads an answer whole.
func get(c *http.Client, p *fault.Proxy, method, path string, header http.Header, body io.Reader) (status int, got []byte, err error) {
	r, err := http.NewRequest(method, "http://"+p.Addr()+path, body)
	if err != nil {
		return 0, nil, err
	}
	if once, ok := body.(oneTime); ok {
		r.ContentLength = once.size
	}
	if header != nil {
		r.Header = header
	}
	resp, err := c.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	got, err = io.ReadAll(resp.Body)
	return resp.StatusCode, got, err
}

func TestPasses(t *testing.T) {
	s, p, c := rig(t)
	for _, path := range []string{"/a", "/chunked"} {
		if status, got, err := get(c, p, "GET", path, nil, nil); err != nil || status != 200 || !bytes.Equal(got, content) {
			t.Errorf("%s: %d, %d bytes, %v", path, status, len(got), err)
		}
	}
	if status, got, err := get(c, p, "HEAD", "/a", nil, nil); err != nil || status != 200 || len(got) != 0 {
		t.Errorf("HEAD: %d, %d bytes, %v", status, len(got), err)
	}
	if status, got, err := get(c, p, "GET", "/a", http.Header{"Range": {"bytes=5-9"}}, nil); err != nil || status != 206 || string(got) != "56789" {
		t.Errorf("range: %d, %q, %v", status, got, err)
	}
	for name, body := range map[string]io.Reader{
		"length":  bytes.NewReader(content),
		"chunked": io.MultiReader(bytes.NewReader(content[:100_001]), bytes.NewReader(content[100_001:])),
	} {
		for _, header := range []http.Header{nil, {"Expect": {"100-continue"}}} {
			n := s.stored()
			status, got, err := get(c, p, "PUT", "/b", header, body)
			if err != nil || status != 200 || string(got) != "stored" || s.stored() != n+1 || !bytes.Equal(s.puts[n], content) {
				t.Errorf("%s %v: %d, %q, %v", name, header, status, got, err)
			}
			if seeker, ok := body.(io.Seeker); ok {
				_, _ = seeker.Seek(0, io.SeekStart) // in memory
			} else {
				break
			}
		}
	}
	counts := p.Counts()
	if counts.Up != 3*int64(len(content)) || counts.Down != 2*int64(len(content))+5+3*int64(len("stored")) {
		t.Errorf("%d bytes up, %d down", counts.Up, counts.Down)
	}
	if n := counts.Of(func(q fault.Request) bool { return q.Method == "PUT" }); n != 3 || len(counts.Requests) != 7 {
		t.Errorf("%d PUT of %d requests", n, len(counts.Requests))
	}
	if counts.Opened != 1 || counts.Open != 1 {
		t.Errorf("%d connections, %d open", counts.Opened, counts.Open)
	}
}

// TestBytes shows that a server gets the very bytes of a request, and a client
// those of an answer.
func TestBytes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const request = "PUT /a%2Fb//c?x=%20+&y HTTP/1.1\r\nhost: Some.Where:99\r\nX-odd:  two  spaces \r\nx-ODD: again\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"3;ext=1\r\nabc\r\n02\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n"
	const reply = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 299 Own Words\r\nETAG: \"x\"\r\ncontent-length: 2\r\n\r\nok"
	got := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			got <- err.Error()
			return
		}
		defer conn.Close()
		buf := make([]byte, len(request))
		_, _ = io.ReadFull(conn, buf)
		got <- string(buf)
		_, _ = io.WriteString(conn, reply)
		_, _ = io.ReadFull(conn, buf[:1]) // until the proxy leaves
	}()
	p := start(t, fault.Options{Upstream: l.Addr().String()})
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, request)
	if sent := <-got; sent != request {
		t.Errorf("the server got\n%q\nof\n%q", sent, request)
	}
	back := make([]byte, len(reply))
	if _, err := io.ReadFull(conn, back); err != nil || string(back) != reply {
		t.Errorf("the client got %q, %v", back, err)
	}
	if up := p.Counts().Up; up != 5 {
		t.Errorf("%d bytes up", up)
	}
	if q := p.Counts().Requests[0]; q.Target != "/a%2Fb//c?x=%20+&y" || q.Host != "Some.Where:99" || q.Length != -1 {
		t.Errorf("%+v", q)
	}
}

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
					if err != nil || status != 200 || !bytes.Equal(s.puts[before], content) {
						t.Errorf("request %d: %d, %v", i, status, err)
					}
					continue
				}
				if c.fails != (err != nil) || c.fails && !reset(err) || status != c.status {
					t.Errorf("%d, %q, %v", status, got, err)
				}
				if whole := s.stored() > before; whole != (c.stores != nil) || whole && !bytes.Equal(s.puts[before], c.stores) {
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

func TestDown(t *testing.T) {
	n := int64(len(content))
	flipped := bytes.Clone(content)
	flipped[70_000] ^= 1
	for _, c := range []struct {
		fault fault.Fault
		ends  func(error) bool // nil for a good end
		most  int64            // bytes that come
		same  []byte           // what they are, as far as they come
	}{
		{fault.ResetDown(0), reset, 0, content},
		{fault.ResetDown(1000), reset, 1000, content},
		{fault.ResetDown(-1), reset, n - 1, content},
		{fault.CutDown(0), isCut, 0, content},
		{fault.CutDown(1000), isCut, 1000, content},
		{fault.CutDown(-1), isCut, n - 1, content},
		{fault.EndDown(0), nil, 0, content},
		{fault.EndDown(100_000), nil, 100_000, content},
		{fault.EndDown(-1), nil, n - 1, content},
		{fault.FlipDown(70_000), nil, n, flipped},
		{fault.SlowDown(64 << 20), nil, n, content},
		{fault.SlowHead(1 << 20), nil, n, content},
		{fault.Rewrite(func(_ fault.Request, b []byte) []byte { return b[:5] }), nil, 5, content},
	} {
		for _, path := range []string{"/a", "/chunked"} {
			t.Run(c.fault.String()+path, func(t *testing.T) {
				if path == "/chunked" && strings.Contains(c.fault.String(), "-1") {
					return // an offset from the end needs a length
				}
				_, p, client := rig(t)
				r := &fault.Rule{Skip: 1, Fault: c.fault}
				p.Arm(r)
				for i := range 3 {
					_, got, err := get(client, p, "GET", path, nil, nil)
					if i != 1 {
						if err != nil || !bytes.Equal(got, content) {
							t.Errorf("request %d: %d bytes, %v", i, len(got), err)
						}
						continue
					}
					bad := c.ends == nil && err != nil || c.ends != nil && (err == nil || !c.ends(err))
					if bad || int64(len(got)) > c.most || c.ends == nil && int64(len(got)) != c.most || !bytes.HasPrefix(c.same, got) {
						t.Errorf("%d bytes, %v", len(got), err)
					}
				}
				if r.Fired() != 1 {
					t.Errorf("fired %d times", r.Fired())
				}
				if ends := c.ends != nil; ends == (p.Counts().Opened == 1) {
					t.Errorf("%d connections", p.Counts().Opened)
				}
			})
		}
	}
}

func isCut(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }

func TestDoesNotFire(t *testing.T) {
	_, p, c := rig(t)
	n := int64(len(content))
	for _, f := range []fault.Fault{
		fault.ResetDown(n), fault.FlipDown(n + 5), fault.EndDown(n), fault.CutDown(n), fault.StallDown(n), fault.FlipUp(0),
		fault.Rewrite(func(_ fault.Request, b []byte) []byte { return b }), fault.Unranged(nil),
	} {
		r := &fault.Rule{Fault: f}
		p.Arm(r)
		if _, got, err := get(c, p, "GET", "/a", nil, nil); err != nil || !bytes.Equal(got, content) || r.Fired() != 0 {
			t.Errorf("%v: fired %d times, %d bytes, %v", f, r.Fired(), len(got), err)
		}
	}
	r := &fault.Rule{Match: func(q fault.Request) bool { return q.Method == "POST" }, Fault: fault.Reset()}
	p.Arm(r)
	if _, _, err := get(c, p, "GET", "/a", nil, nil); err != nil || r.Fired() != 0 {
		t.Errorf("a rule for others fired %d times: %v", r.Fired(), err)
	}
}

func TestUnranged(t *testing.T) {
	_, p, c := rig(t)
	p.Arm(&fault.Rule{Fault: fault.Unranged(bytes.NewReader(content))}, &fault.Rule{Fault: fault.Unranged(nil)})
	status, got, err := get(c, p, "GET", "/a", http.Header{"Range": {"bytes=5-9"}}, nil)
	if err != nil || status != 200 || !bytes.Equal(got, content) {
		t.Errorf("%d, %d bytes, %v", status, len(got), err)
	}
	status, got, err = get(c, p, "GET", "/a", http.Header{"Range": {"bytes=5-9"}}, nil)
	want := make([]byte, len(content))
	copy(want[5:], "56789")
	if err != nil || status != 200 || !bytes.Equal(got, want) {
		t.Errorf("%d, %d bytes, %v", status, len(got), err)
	}
}

// TestStall shows that a stall lasts until its release, its client's end, or the
// proxy's.
func TestStall(t *testing.T) {
	faults := []fault.Fault{fault.StallUp(100_000), fault.StallDown(3), fault.StallAnswer(), fault.Hold()}
	for _, f := range faults {
		for _, how := range []string{"release", "cancel", "close"} {
			t.Run(f.String()+" "+how, func(t *testing.T) {
				s := newServer(t)
				p := start(t, fault.Options{Upstream: s.Listener.Addr().String()})
				r := &fault.Rule{Fault: f}
				p.Arm(r)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				q, _ := http.NewRequestWithContext(ctx, "PUT", "http://"+p.Addr()+"/b", bytes.NewReader(content))
				c := client(t)
				ended := make(chan error, 1)
				go func() {
					resp, err := c.Do(q)
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
					ended <- err
				}()
				<-r.Happened()
				switch how {
				case "release":
					r.Release()
				case "cancel":
					cancel()
				case "close":
					if err := p.Close(); err != nil {
						t.Error(err)
					}
				}
				if err := <-ended; (err == nil) != (how == "release") {
					t.Error(err)
				}
				r.Release() // a stalled upload does not see that its client has gone
				if how == "cancel" {
					closes(t, p, c)
				}
			})
		}
	}
}

// closes waits until no connection is open. A client may keep one that it opened
// for a request which was given up meanwhile.
func closes(t *testing.T, p *fault.Proxy, clients ...*http.Client) {
	t.Helper()
	eventually(t, "no connection is open", func() bool {
		for _, c := range clients {
			c.CloseIdleConnections()
		}
		return p.Counts().Open == 0
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not so after ten seconds: %s", what)
		}
	}
}

func TestSlow(t *testing.T) {
	_, p, c := rig(t)
	rate := int64(len(content)) * 4
	for _, f := range []fault.Fault{fault.SlowUp(rate), fault.SlowDown(rate), fault.SlowHead(500)} {
		r := &fault.Rule{Fault: f}
		p.Arm(r)
		begin := time.Now()
		method, body := "GET", io.Reader(nil)
		if f.String()[:7] == "slow up" {
			method, body = "PUT", bytes.NewReader(content)
		}
		if _, _, err := get(c, p, method, "/a", nil, body); err != nil || r.Fired() != 1 {
			t.Errorf("%v: fired %d times, %v", f, r.Fired(), err)
		}
		if took := time.Since(begin); took < 200*time.Millisecond {
			t.Errorf("%v took %v", f, took)
		}
	}
}

func TestRefuse(t *testing.T) {
	_, p, c := rig(t)
	r := &fault.Rule{Times: 2, Fault: fault.Refuse()}
	p.Arm(r)
	for i := range 3 {
		_, _, err := put(c, p)
		if i < 2 && !reset(err) || i == 2 && err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	if r.Fired() != 2 || p.Counts().Opened != 3 {
		t.Errorf("fired %d times, %d connections", r.Fired(), p.Counts().Opened)
	}
}

func TestDeadServer(t *testing.T) {
	s, p, c := rig(t)
	s.Close()
	if _, _, err := put(c, p); !reset(err) {
		t.Error(err)
	}
}

// TestAbandoned shows that an answer which nobody reads is not fetched to its end.
func TestAbandoned(t *testing.T) {
	_, p, c := rig(t)
	p.Arm(&fault.Rule{Fault: fault.SlowDown(64 << 10)})
	resp, err := c.Get("http://" + p.Addr() + "/a")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	closes(t, p)
	if down := p.Counts().Down; down >= int64(len(content)) {
		t.Errorf("%d bytes down", down)
	}
}

func TestCloseIsWhole(t *testing.T) {
	before := runtime.NumGoroutine()
	s := newServer(t)
	p, err := fault.Start(fault.Options{Upstream: s.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	c := client(t)
	var all sync.WaitGroup
	r := &fault.Rule{Times: fault.Always, Fault: fault.StallAnswer()}
	p.Arm(r)
	for range 5 {
		all.Go(func() { _, _, _ = put(c, p) })
	}
	<-r.Happened()
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
	c.CloseIdleConnections()
	s.Close()
	eventually(t, "no goroutine stays", func() bool { return runtime.NumGoroutine() <= before })
	if p.Counts().Open != 0 {
		t.Errorf("%d connections", p.Counts().Open)
	}
}

// TestConcurrent shows that the k-th request is hit once among many at a time.
func TestConcurrent(t *testing.T) {
	s, p, c := rig(t)
	r := &fault.Rule{Skip: 7, Times: 3, Fault: fault.Answer(503, nil, "")}
	p.Arm(r)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, _, err := put(c, p); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if r.Fired() != 3 || s.stored() != 17 {
		t.Errorf("fired %d times, %d stored", r.Fired(), s.stored())
	}
}
