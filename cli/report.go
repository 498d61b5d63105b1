package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

const reportHelp = `With --json the result is one line, once places were asked to store it:

  {"v":1,"id":…,"job":…,"name":…,"created":…,"outcome":"ok","size":…,"sha256":…,
   "content_size":…,"entries":…,"odd":…,"lost":…,"millis":…,
   "agents":{"NAME":"stored"},"errors":{"NAME":…}}

outcome is ok, degraded or failed, and of an agent stored, pending or failed. odd
counts entries that are not as they were, lost those of them without content.
Times are UTC, RFC 3339, sizes are bytes.`

type reportLine struct {
	V           int                   `json:"v"`
	ID          core.ID               `json:"id"`
	Job         string                `json:"job"`
	Name        string                `json:"name"`
	Created     time.Time             `json:"created"`
	Outcome     core.Outcome          `json:"outcome"`
	Size        int64                 `json:"size"`
	SHA256      string                `json:"sha256"`
	ContentSize int64                 `json:"content_size"`
	Entries     int64                 `json:"entries"`
	Odd         int64                 `json:"odd"`
	Lost        int64                 `json:"lost"`
	Millis      int64                 `json:"millis"`
	Agents      map[string]core.State `json:"agents"`
	Errors      map[string]string     `json:"errors,omitempty"`
}

// report tells how a run or an upload went, and answers the error that the
// command ends with.
func (a *app) report(s *session, r platform.Report, back string) error {
	switch {
	case len(r.Agents) == 0:
		return r.Err // of what was asked for: no place was asked to store it
	case !a.json:
		a.printReport(s, r, back)
	default:
		if err := a.printJSON(newReportLine(r)); err != nil {
			return err
		}
	}
	switch r.Outcome {
	case core.OK:
		return nil
	case core.Degraded:
		return result{exitDegraded, fmt.Errorf("degraded: %w", r.Err)}
	}
	return result{exitFailed, r.Err}
}

func newReportLine(r platform.Report) reportLine {
	b := r.Backup
	l := reportLine{
		V: 1, ID: b.ID, Job: b.Job, Name: b.Name, Created: b.Created.UTC(), Outcome: r.Outcome,
		Size: b.Size, SHA256: b.SHA256, ContentSize: b.ContentSize, Entries: b.Entries,
		Odd: r.Odd, Lost: r.Lost, Millis: r.Took.Milliseconds(),
		Agents: map[string]core.State{}, Errors: map[string]string{},
	}
	for _, agent := range r.Agents {
		l.Agents[agent.Agent] = agent.State
		if agent.Err != nil {
			l.Errors[agent.Agent] = agent.Err.Error()
		}
	}
	return l
}

// printReport writes a line for each agent, one for the whole, and how to get the
// backup back. Why an agent failed is told as an error.
func (a *app) printReport(s *session, r platform.Report, back string) {
	at, stored := "", 0
	for _, agent := range r.Agents {
		what := string(agent.State)
		if agent.State == core.Stored {
			what += " " + size(r.Backup.Size)
			if stored++; at == "" {
				at = s.written(agent.Agent)
			}
		}
		a.printf("%s: %s\n", visible(agent.Agent), what)
	}
	a.printf("%s: %s%s, stored at %d of %s in %s\n", r.Outcome, r.Backup.ID, holds(r.Backup),
		stored, count(int64(len(s.places)), "place", "places"), took(r.Took))
	if at != "" {
		a.printf("get it back: %s --from %s\n", back, shellWord(at))
	}
}

// holds says what a backup holds, as far as it is known.
func holds(b core.Backup) string {
	switch {
	case b.SHA256 == "":
		return ""
	case b.TOC == nil:
		return ": " + size(b.Size)
	}
	return fmt.Sprintf(": %s, %s of content, %s packed", count(b.Entries, "entry", "entries"), size(b.ContentSize), size(b.Size))
}

// standing is the error that a list or a look at one backup ends with when not
// all is as it should be.
func standing(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return result{exitDegraded, errors.Join(errs...)}
}
