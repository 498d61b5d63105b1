package cli

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

const reportHelp = `With --json the result is one line, once places were asked to store it; of "run"
one for each job, whatever happened:

  {"v":1,"id":…,"job":…,"name":…,"created":…,"outcome":"ok","size":…,"sha256":…,
   "content_size":…,"entries":…,"odd":…,"lost":…,"millis":…,"paused_millis":…,
   "agents":{"NAME":"stored"},"errors":{"NAME":…},"error":…,"hooks":[…],
   "payments":[{"id":…,"job":…,"hook":…,"owed":false,"error":…}],"killed":[…],
   "resent":[{"id":…,"job":…,"outcome":"ok","agents":{…},"errors":{…},"error":…}]}

outcome is ok, degraded or failed, and of an agent stored, pending, failed or
skipped, where there was nothing to store. errors say why an agent is pending or
failed. odd counts entries that are not as they were, lost those of them without
content. payments are hooks that runs which were killed owed, killed the ids of such
runs whose backup is not sent by now, resent earlier backups of the job that waited
for agents. What is empty from "errors" on is left out. Times are UTC, RFC 3339,
sizes are bytes.`

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
	Paused      int64                 `json:"paused_millis"`
	Agents      map[string]core.State `json:"agents"`
	Errors      map[string]string     `json:"errors,omitempty"`
	Error       string                `json:"error,omitempty"`
	Hooks       []core.HookRun        `json:"hooks,omitempty"`
	Payments    []paymentLine         `json:"payments,omitempty"`
	Killed      []core.ID             `json:"killed,omitempty"`
	Resent      []resentLine          `json:"resent,omitempty"`
}

// report tells how a run or an upload went, and answers the error that the
// command ends with.
func (a *app) report(s *session, r platform.Report, back string) error {
	a.mourn(r.Killed)
	asked := len(r.Agents) > 0
	switch {
	case a.json && (asked || r.Backup.Job != ""):
		if err := a.printJSON(newReportLine(r)); err != nil {
			return err
		}
	case !a.json:
		a.printEarlier(part(r.Backup.Job), r.Payments, nil)
		if asked {
			a.printReport(s, r, back)
		}
		a.printEarlier(part(r.Backup.Job), nil, r.Resent)
	}
	return judge(r)
}

// A waits is the error of what lacks nothing but places that will be asked again.
type waits struct{ error }

func (w waits) Unwrap() error { return w.error }

// waiting says whether every agent that lacks a backup will be asked again.
func waiting(agents []core.AgentResult) bool {
	lacks := func(a core.AgentResult) bool { return a.State != core.Stored }
	lost := func(a core.AgentResult) bool { return lacks(a) && a.State != core.Pending }
	return slices.ContainsFunc(agents, lacks) && !slices.ContainsFunc(agents, lost)
}

// judge is the error that a command ends with.
func judge(r platform.Report) error {
	if waiting(r.Agents) {
		r.Err = waits{r.Err}
	}
	var earlier []error
	for _, e := range r.Resent {
		if e.Err != nil {
			earlier = append(earlier, fmt.Errorf("an earlier backup: %w", e.Err))
		}
	}
	switch {
	case len(r.Agents) == 0:
		return errors.Join(append([]error{r.Err}, earlier...)...) // of what was asked for: no place was asked to store it
	case r.Outcome == core.Failed:
		return result{exitFailed, errors.Join(append([]error{r.Err}, earlier...)...)}
	case r.Outcome == core.Degraded:
		return result{exitDegraded, errors.Join(append([]error{fmt.Errorf("degraded: %w", r.Err)}, earlier...)...)}
	}
	return standing(earlier)
}

func newReportLine(r platform.Report) reportLine {
	b := r.Backup
	l := reportLine{
		V: 1, ID: b.ID, Job: b.Job, Name: b.Name, Created: b.Created.UTC(), Outcome: r.Outcome,
		Size: b.Size, SHA256: b.SHA256, ContentSize: b.ContentSize, Entries: b.Entries,
		Odd: r.Odd, Lost: r.Lost, Millis: r.Took.Milliseconds(), Paused: r.Paused.Milliseconds(),
		Error: message(r.Err), Hooks: b.Hooks, Payments: paymentLines(r.Payments),
		Killed: killedIDs(r.Killed), Resent: resentLines(r.Resent),
	}
	l.Agents, l.Errors = agentLines(r.Agents)
	return l
}

func agentLines(results []core.AgentResult) (states map[string]core.State, errs map[string]string) {
	states, errs = map[string]core.State{}, map[string]string{}
	for _, agent := range results {
		states[agent.Agent] = agent.State
		if agent.Err != nil {
			errs[agent.Agent] = agent.Err.Error()
		}
	}
	return states, errs
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// part begins the lines of one job of several.
func part(job string) string {
	if job == "" {
		return ""
	}
	return visible(job) + ": "
}

// printReport writes a line for each agent, one for the whole, and how to get the
// backup back. Why an agent failed is told as an error.
func (a *app) printReport(s *session, r platform.Report, back string) {
	job := part(r.Backup.Job)
	for _, h := range r.Backup.Hooks {
		if h.Status != "ok" {
			a.printf("%shook %s: %s, and it is optional\n", job, visible(h.Name), visible(h.Status))
		}
	}
	again, stored := "", 0
	for _, agent := range r.Agents {
		a.printf("%s%s\n", job, standingOf(agent, r.Backup))
		if agent.State == core.Stored {
			if stored++; stored == 1 {
				again = s.again(agent.Agent)
			}
		}
	}
	a.printf("%s%s: %s%s, stored at %d of %s in %s\n", job, r.Outcome, r.Backup.ID, holds(r.Backup),
		stored, count(int64(len(s.places)), "place", "places"), took(r.Took))
	if stored > 0 {
		a.printf("get it back: %s\n", joined(back, again))
	}
}

// standingOf says how an agent stands to a backup.
func standingOf(agent core.AgentResult, b core.Backup) string {
	text := visible(agent.Agent) + ": " + string(agent.State)
	switch agent.State {
	case core.Stored:
		text += " " + size(b.Size)
	case core.Pending:
		text += `: will be sent by the next run or "offsite recover"`
	case core.Skipped:
		text += ": there was nothing to store"
	}
	return text
}

func joined(command, options string) string {
	if options == "" {
		return command
	}
	return command + " " + options
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
