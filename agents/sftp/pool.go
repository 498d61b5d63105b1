package sftp

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A pool is the connections of one agent. A file takes one that does nothing, a new one
// while there are not too many, or one that does least: files share connections, so that
// none waits for another to end. A single operation is over sooner than a new connection
// is there, and takes one that does least.
type pool struct {
	dial func(context.Context) (*conn, error)
	most int
	log  *slog.Logger

	mu      sync.Mutex
	all     []*conn
	dialing int
	first   *attempt  // under way, while there is no connection
	refused time.Time // when a further connection was
	closed  bool
	life    context.Context // until end
	end     context.CancelFunc
	filling sync.WaitGroup
}

func newPool(most int, log *slog.Logger, dial func(context.Context) (*conn, error)) *pool {
	p := &pool{dial: dial, most: most, log: log}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

// An attempt is one to connect that others wait for: a server that refuses one would
// refuse them all.
type attempt struct {
	over chan struct{}
	err  error // read after over; nil where another should try
}

// refusedFor is how long no further connection is tried when one was refused.
const refusedFor = time.Minute

// get returns a connection, which the caller gives back: for a file, or for a single
// operation.
func (p *pool) get(ctx context.Context, file bool) (*conn, error) {
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		c, wait, err := p.take(file)
		if c != nil || err != nil {
			return c, err
		}
		if wait == nil {
			if c, err := p.connect(ctx); c != nil || err != nil {
				return c, err
			}
			continue
		}
		select {
		case <-wait.over:
			if wait.err != nil {
				return nil, wait.err
			}
		case <-ctx.Done():
		}
	}
}

// take returns a connection, or whom to wait for, or neither: then the caller opens
// one, which is counted.
func (p *pool) take(file bool) (*conn, *attempt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, core.ErrClosed
	}
	var least *conn
	for _, c := range p.all {
		if least == nil || c.users < least.users {
			least = c
		}
	}
	switch {
	case least == nil && p.first != nil:
		return nil, p.first, nil
	case least == nil:
		p.first = &attempt{over: make(chan struct{})}
	case !file || least.users == 0 || len(p.all)+p.dialing >= p.most || time.Since(p.refused) < refusedFor:
		least.users++
		return least, nil, nil
	}
	p.dialing++
	return nil, nil, nil
}

// connect makes a connection. It returns neither one nor an error where those that there
// are have to do.
func (p *pool) connect(ctx context.Context) (*conn, error) {
	p.mu.Lock()
	further := len(p.all) > 0
	p.mu.Unlock()
	if further { // those that there are have to do soon
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, dialWithin)
		defer cancel()
	}
	c, err := p.dial(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialing--
	if first := p.first; first != nil {
		p.first = nil
		if ctx.Err() == nil {
			first.err = err
		}
		defer close(first.over)
	}
	switch {
	case err != nil && len(p.all) > 0 && errors.Is(context.Cause(ctx), context.Canceled):
		return nil, nil // who asked has left
	case err != nil && len(p.all) > 0:
		p.refused = time.Now()
		level := slog.LevelInfo
		if errors.Is(err, errHost) {
			level = slog.LevelWarn
		}
		p.log.Log(ctx, level, "there is no further connection", "open", len(p.all), "error", err)
		return nil, nil
	case err != nil:
		return nil, err
	case p.closed:
		c.end(core.ErrClosed)
		return nil, core.ErrClosed
	}
	c.users = 1
	p.all = append(p.all, c)
	c.tasks.Go(func() { <-c.gone; p.remove(c) })
	return c, nil
}

// fill makes all further connections that there may be, beside what goes on: much is
// about to be sent, and each takes many round trips.
func (p *pool) fill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.all) == 0 || time.Since(p.refused) < refusedFor {
		return
	}
	for len(p.all)+p.dialing < p.most {
		p.dialing++
		p.filling.Go(func() {
			if c, err := p.connect(p.life); err == nil && c != nil { // else it does without, or fails where one is asked for
				p.put(c)
			}
		})
	}
}

// put gives a connection back.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.users--
}

func (p *pool) remove(gone *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, c := range p.all {
		if c == gone {
			p.all = append(p.all[:i:i], p.all[i+1:]...)
			return
		}
	}
}

// close ends all connections and waits for what is left of them.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	all := p.all
	p.mu.Unlock()
	p.end()
	p.filling.Wait()
	for _, c := range all {
		c.end(core.ErrClosed)
	}
	for _, c := range all {
		c.wait()
	}
}
