package fault_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/offsite-backup/offsite/conformance/fault"
)

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
