package fault_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/fault"
)

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
