package cli

import (
	"fmt"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

// What was done for runs that were killed, and for agents that were away.

type paymentLine struct {
	ID    core.ID `json:"id"`
	Job   string  `json:"job"`
	Hook  string  `json:"hook"`
	Owed  bool    `json:"owed"`
	Error string  `json:"error,omitempty"`
}

func paymentLines(payments []platform.Payment) []paymentLine {
	all := []paymentLine{}
	for _, p := range payments {
		all = append(all, paymentLine{p.ID, p.Job, p.Hook, p.Owed, message(p.Err)})
	}
	return all
}

type resentLine struct {
	ID      core.ID               `json:"id"`
	Job     string                `json:"job"`
	Outcome core.Outcome          `json:"outcome"`
	Agents  map[string]core.State `json:"agents"`
	Errors  map[string]string     `json:"errors,omitempty"`
	Error   string                `json:"error,omitempty"`
}

func resentLines(reports []platform.Report) []resentLine {
	all := []resentLine{}
	for _, r := range reports {
		l := resentLine{ID: r.Backup.ID, Job: r.Backup.Job, Outcome: r.Outcome, Error: message(r.Err)}
		l.Agents, l.Errors = agentLines(r.Agents)
		all = append(all, l)
	}
	return all
}

func killedIDs(killed []platform.Killed) []core.ID {
	all := []core.ID{}
	for _, k := range killed {
		all = append(all, k.ID)
	}
	return all
}

// mourn says what no command makes good, to whoever looks at nothing but errors too.
func (a *app) mourn(killed []platform.Killed) {
	for _, k := range killed {
		run := "a backup"
		if k.Job != "" {
			run = "the backup of " + visible(k.Job)
		}
		text := "was killed before it was made: run it again"
		if k.Sent {
			text = `was killed while it was sent: "offsite list" shows which places have it`
		}
		a.console.line(fmt.Sprintf("offsite: %s with the id %s %s", run, k.ID, text))
	}
}

// printEarlier writes a line for each hook that was owed, and for each agent that an
// earlier backup waited for. Why something went wrong is told as an error.
func (a *app) printEarlier(part string, payments []platform.Payment, resent []platform.Report) {
	for _, p := range payments {
		a.printf("%s%s\n", part, paid(p))
	}
	for _, r := range resent {
		for _, agent := range r.Agents {
			a.printf("%searlier %s: %s\n", part, r.Backup.ID, standingOf(agent, r.Backup))
		}
		if len(r.Agents) == 0 {
			a.printf("%searlier %s: %s\n", part, r.Backup.ID, r.Outcome)
		}
	}
}

func paid(p platform.Payment) string {
	text := fmt.Sprintf("run %s, which was killed", p.ID)
	if p.Job != "" {
		text = fmt.Sprintf("run %s of %s, which was killed", p.ID, visible(p.Job))
	}
	if p.Hook != "" {
		text += ": hook " + visible(p.Hook)
	}
	switch {
	case p.Owed:
		return text + ": still owed"
	case p.Err != nil:
		return text + ": its post FAILED, and the application may still be paused"
	}
	return text + ": undone"
}
