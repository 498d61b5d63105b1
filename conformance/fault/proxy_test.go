package fault_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
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

// body is what was put by the i-th request that came whole.
func (s *server) body(i int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.puts[i]
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
			if err != nil || status != 200 || string(got) != "stored" || s.stored() != n+1 || !bytes.Equal(s.body(n), content) {
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

// TestForward keeps a connection with the server that it has, and takes the next
// one to another.
func TestForward(t *testing.T) {
	s, p, c := rig(t)
	other := newServer(t)
	_, _, _ = put(c, p)
	p.Forward(other.Listener.Addr().String())
	_, _, _ = put(c, p)
	c.CloseIdleConnections()
	_, _, _ = put(c, p)
	if s.stored() != 2 || other.stored() != 1 {
		t.Errorf("%d at the first server and %d at the other, want 2 and 1", s.stored(), other.stored())
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

// TestCut ends a request that is held, at the server too, and passes the next.
func TestCut(t *testing.T) {
	s := newServer(t)
	p := start(t, fault.Options{Upstream: s.Listener.Addr().String()})
	c := client(t)
	r := &fault.Rule{Times: 1, Fault: fault.StallUp(1)}
	p.Arm(r)
	failed := make(chan error, 1)
	go func() {
		_, _, err := put(c, p)
		failed <- err
	}()
	<-r.Happened()
	p.Cut()
	if err := <-failed; err == nil {
		t.Error("a request that was cut has an answer")
	}
	eventually(t, "no connection is open", func() bool { return p.Counts().Open == 0 })
	if _, _, err := put(c, p); err != nil {
		t.Errorf("the next: %v", err)
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
