package object

import (
	"fmt"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// Clocks that are so far apart are worth a word, a warning, and keep things from
// working: signatures are refused from a quarter of an hour on.
const (
	clockTold   = 5 * time.Second
	clockWarned = time.Minute
	clockFailed = 10 * time.Minute
)

// clock compares the time that the place gave to something, which was asked for at
// asked, with this machine's.
func (e *examination) clock(at, asked time.Time) error {
	if e.timed || at.IsZero() {
		return nil
	}
	e.timed = true
	ahead := max(at.Sub(e.agent.env.Now()), 0) + min(at.Sub(asked), 0)
	e.ahead = ahead
	f := core.Finding{What: "clock", Verdict: core.VerdictOK}
	if ahead.Abs() >= clockTold {
		f.Why = fmt.Sprintf("that of the place is %v ahead of this machine's", ahead.Round(time.Second))
	}
	if ahead <= -clockTold {
		f.Why = fmt.Sprintf("that of the place is %v behind this machine's", -ahead.Round(time.Second))
	}
	switch {
	case ahead.Abs() >= clockFailed:
		f.Verdict = core.VerdictFailed
	case ahead.Abs() >= clockWarned:
		f.Verdict = core.VerdictWarning
	}
	if f.Verdict != core.VerdictOK {
		f.Do = "set this machine's clock, and keep it right"
	}
	return e.say(f)
}
