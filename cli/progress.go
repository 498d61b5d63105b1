package cli

import (
	"fmt"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A meter shows people how far each agent is.
type meter interface {
	update(core.Progress) // safe for concurrent use
	close()               // returns when nothing more will be shown
}

func (a *app) newMeter() meter {
	switch {
	case a.quiet:
		return silent{}
	case a.bars:
		return newBars(a.console, a.now)
	}
	return newLines(a.console, a.now)
}

type silent struct{}

func (silent) update(core.Progress) {}
func (silent) close()               {}

// shown passes on what a session is told to the meter that shows it now. It is
// safe for concurrent use.
type shown struct {
	mu    sync.RWMutex
	meter meter
}

func (s *shown) to(m meter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meter = m
}

func (s *shown) update(p core.Progress) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.meter != nil {
		s.meter.update(p)
	}
}

// A track follows one agent's transfer. It is safe for concurrent use.
type track struct {
	mu          sync.Mutex
	agent       string
	done, total int64
	samples     []sample // in order of time; the last of them may be younger than now
}

type sample struct {
	at   time.Time
	done int64
}

// The rate is that of the last samples: long enough to be steady, short enough
// to see that a network died.
const (
	sampleEvery = time.Second
	sampleMost  = 20
)

func (t *track) update(p core.Progress, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// Parts end in any order, and so do those who tell of them.
	t.done, t.total = max(t.done, p.Done), max(t.total, p.Total)
	if n := len(t.samples); n == 0 || now.Sub(t.samples[n-1].at) >= sampleEvery {
		t.samples = append(t.samples, sample{now, t.done})
		t.samples = t.samples[max(0, len(t.samples)-sampleMost):]
	}
}

// rate is bytes in a second as of now, 0 while that is not known.
func (t *track) rate(now time.Time) float64 {
	if len(t.samples) == 0 {
		return 0
	}
	first := t.samples[0]
	passed := now.Sub(first.at)
	if passed < sampleEvery {
		return 0
	}
	return float64(t.done-first.done) / passed.Seconds()
}

// status says how far the transfer is.
func (t *track) status(now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := size(t.done)
	if t.total > t.done {
		s += " of " + size(t.total)
	}
	rate := t.rate(now)
	if rate < 1 || t.total > 0 && t.done >= t.total {
		return s
	}
	s += fmt.Sprintf(", %s/s", size(int64(rate)))
	if t.total > t.done {
		left := time.Duration(float64(t.total-t.done) / rate * float64(time.Second))
		s += fmt.Sprintf(", %v left", max(left.Round(time.Second), time.Second))
	}
	return s
}

// position is how far the transfer is; total is 0 while that is not known.
func (t *track) position() (done, total int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.done, t.total
}

// lines writes a line for each agent now and then, for logs.
type lines struct {
	console *console
	now     func() time.Time
	stop    chan struct{}
	stopped chan struct{}

	mu     sync.Mutex
	tracks []*track
}

// linesEvery is long, so that a short run writes none.
const linesEvery = 30 * time.Second

func newLines(c *console, now func() time.Time) *lines {
	l := &lines{console: c, now: now, stop: make(chan struct{}), stopped: make(chan struct{})}
	go l.run()
	return l
}

func (l *lines) run() {
	defer close(l.stopped)
	tick := time.NewTicker(linesEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.write()
		case <-l.stop:
			return
		}
	}
}

func (l *lines) write() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.tracks {
		l.console.line("offsite: " + t.agent + ": " + t.status(l.now()))
	}
}

func (l *lines) update(p core.Progress) { l.track(p.Agent).update(p, l.now()) }

func (l *lines) track(agent string) *track {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.tracks {
		if t.agent == agent {
			return t
		}
	}
	t := &track{agent: agent}
	l.tracks = append(l.tracks, t)
	return t
}

func (l *lines) close() {
	close(l.stop)
	<-l.stopped
}
