package cli

import (
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/offsite-backup/offsite/core"
)

// bars draws a bar for each agent on a terminal.
type bars struct {
	console *console
	now     func() time.Time
	drawn   *mpb.Progress

	mu  sync.Mutex
	all map[string]*bar
}

type bar struct {
	track
	drawn *mpb.Bar
}

func newBars(c *console, now func() time.Time) *bars {
	b := &bars{console: c, now: now, all: map[string]*bar{}}
	b.drawn = mpb.New(mpb.WithOutput(c.w), mpb.WithAutoRefresh())
	c.draw(b.drawn)
	return b
}

func (b *bars) update(p core.Progress) {
	bar := b.bar(p.Agent)
	bar.update(p, b.now())
	done, total := bar.position()
	bar.drawn.SetTotal(total, false)
	bar.drawn.SetCurrent(done)
}

func (b *bars) bar(agent string) *bar {
	b.mu.Lock()
	defer b.mu.Unlock()
	if one, ok := b.all[agent]; ok {
		return one
	}
	one := &bar{track: track{agent: agent}}
	one.drawn = b.drawn.New(0, mpb.BarStyle().Filler("#").Tip("").Padding("."),
		mpb.PrependDecorators(decor.Name(shortened(visible(agent)), decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return one.status(b.now()) })),
	)
	b.all[agent] = one
	return one
}

// nameMost leaves room for rate and time left on a narrow terminal.
const nameMost = 24

// shortened keeps the end of a name, which is what tells directories apart.
func shortened(name string) string {
	if r := []rune(name); len(r) > nameMost {
		return "…" + string(r[len(r)-nameMost+1:])
	}
	return name
}

// close leaves the bars as they are: what each agent made of it is told after.
func (b *bars) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, one := range b.all {
		one.drawn.Abort(false)
	}
	b.drawn.Wait()
	b.console.draw(nil)
}
