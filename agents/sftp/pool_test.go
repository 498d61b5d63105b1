package sftp

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// Where a further connection does not come about, those that there are do, and nobody
// waits for another one for a while.
func TestNoFurtherConnection(t *testing.T) {
	for name, patience := range map[string]time.Duration{"the operation ends first": 5 * time.Second, "the dial ends first": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one, dials := &conn{gone: make(chan struct{})}, 0
				p := newPool(4, slog.New(slog.DiscardHandler), func(ctx context.Context) (*conn, error) {
					if dials++; dials == 1 {
						return one, nil
					}
					<-ctx.Done() // as behind a firewall
					return nil, context.Cause(ctx)
				})
				if c, err := p.get(t.Context(), true); c != one || err != nil {
					t.Fatal(c, err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if c, err := p.get(ctx, true); (c == one) != (patience == time.Hour) {
					t.Errorf("%v, %v", c, err)
				}
				began := time.Now()
				for range 3 {
					if c, err := p.get(t.Context(), true); c != one || err != nil {
						t.Errorf("%v, %v", c, err)
					}
				}
				if waited := time.Since(began); waited > 0 || dials != 2 {
					t.Errorf("waited %v, dialed %d times", waited, dials)
				}
				close(one.gone)
			})
		})
	}
}

// What is filled is there for those who come then, and nobody waits for it. It ends with
// the pool.
func TestFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := make(chan *conn)
		p := newPool(4, slog.New(slog.DiscardHandler), func(ctx context.Context) (*conn, error) {
			select {
			case c := <-answers:
				return c, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		})
		p.fill() // has nothing to add to
		go func() { answers <- &conn{gone: make(chan struct{})} }()
		first, err := p.get(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := p.get(t.Context(), false); c != first || err != nil {
			t.Errorf("%v, %v, for a single operation", c, err)
		}
		p.fill()
		p.fill() // which knows that they are on their way
		for range 2 {
			answers <- &conn{gone: make(chan struct{})}
		}
		synctest.Wait()
		if c, err := p.get(t.Context(), true); c == first || err != nil || len(p.all) != 3 || p.dialing != 1 {
			t.Errorf("%v, %v, with %d there and %d on their way", c, err, len(p.all), p.dialing)
		}
		for _, c := range p.all {
			c.net = &heard{Conn: nowhere{}}
		}
		p.close() // and the last one never comes
	})
}

// nowhere is a connection that can be closed.
type nowhere struct{ net.Conn }

func (nowhere) Close() error { return nil }
