package platform_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

// ran compares a run that lived with the model.
func (m *model) ran(t *rapid.T, report platform.Report, err error) {
	run, posts := m.hear(t)
	if m.Plan.Wrong == missing {
		if err == nil || run != nil || len(posts) > 0 {
			t.Fatalf("a run without a source: %v, %v, %v", err, run, posts)
		}
		return
	}
	if run == nil || run.id != report.Backup.ID {
		t.Fatalf("%s did not begin: %v", report.Backup.ID, err)
	}
	m.payments(t, report.Payments, posts)
	found := m.takeover(m.Plan.Job, nil)
	for _, r := range append(m.sorted(), run) {
		r.settled(t)
	}
	m.stored(t, run, report.Agents)
	m.judged(t, run, report, err, found)
	m.mourned(t, report.Killed, found.over)
	m.clear(found.over)
	m.resent(t, report.Resent, found.wanted)
	m.records[run.id] = run
}

// payments compares the payments that were reported with the posts that ran.
func (m *model) payments(t *rapid.T, made []platform.Payment, posts []event) {
	if len(made) != len(posts) {
		t.Fatalf("%d payments were reported for %v: %+v", len(made), posts, made)
	}
	for i, p := range made {
		r := m.records[p.ID]
		if p.ID != posts[i].id || p.Hook != posts[i].of || p.Owed || p.Job != r.job || (p.Err != nil) != (p.Hook == r.wrong) {
			t.Fatalf("payment %+v of %+v", p, posts[i])
		}
	}
}

// stored compares what each agent answered to a run.
func (m *model) stored(t *rapid.T, run *record, results []core.AgentResult) {
	if len(results) != len(m.Places) {
		t.Fatalf("%d results of %d agents", len(results), len(m.Places))
	}
	b := m.backups[run.id]
	for i, res := range results {
		name := m.Places[i].Name
		want := m.states(name, run.id)
		none := res.State == core.Stored || res.State == core.Skipped
		if res.Agent != name || !slices.Contains(want, res.State) || (res.Err == nil) != none {
			t.Fatalf("%+v: %+v, want %s to be one of %v", m.Plan, res, name, want)
		}
		b.at[name] = res.State == core.Stored
		b.perhaps[name] = slices.Contains(want, core.Stored)
		switch sweeps := m.sweeps(name); {
		case b.at[name]:
		case res.State == core.Pending:
			run.agents, run.sealed = append(run.agents, name), true
		case sweeps == no:
			run.agents = append(run.agents, name)
		case sweeps == maybe:
			run.perhaps = append(run.perhaps, name)
		}
	}
}

// states are those that an agent may have after a run.
func (m *model) states(agent string, id core.ID) []core.State {
	lacking := core.Missing
	if m.Plan.packs() && m.Plan.Keep > 0 {
		lacking = core.Pending
	}
	well, said := core.Stored, m.takes(agent, id)
	if !m.Plan.packs() { // it has its own reason, or none
		well, said = core.Skipped, m.sweeps(agent)
	}
	return map[answer][]core.State{yes: {well}, maybe: {well, lacking}, no: {lacking}}[said]
}

// judged compares the outcome of a run, and which of its hooks were begun.
func (m *model) judged(t *rapid.T, run *record, report platform.Report, err error, found takeover) {
	p, at, n := m.Plan, m.backups[run.id].at, 0
	for _, stored := range at {
		if stored {
			n++
		}
	}
	want := core.OK
	switch {
	case !p.packs() || n < p.Copies || p.Copies == 0 && n < len(m.Places) || len(p.Require) > 0 && !at[p.Require[0]]:
		want = core.Failed
	case n < len(m.Places) || run.wrong != "" || len(found.said) > 0 || slices.ContainsFunc(report.Payments, func(p platform.Payment) bool { return p.Err != nil }):
		want = core.Degraded
	}
	if report.Outcome != want || (err != nil) != (want == core.Failed) || (report.Err != nil) != (want != core.OK) {
		t.Fatalf("%+v is %s, want %s: %v, %v", p, report.Outcome, want, report.Err, err)
	}
	for _, id := range found.said {
		m.givenUp++
		if !strings.Contains(fmt.Sprint(report.Err), "archive of "+id+" waited") {
			t.Fatalf("%s was given up, and nothing said: %v", id, report.Err)
		}
	}
	if want == core.Failed {
		m.undone++
	}
	begun := p.Hooks
	if p.Wrong == preFails || p.Wrong == prePanics {
		begun = p.At + 1
	}
	// Without an agent that may take the archive there is no use in going on.
	if futile := p.Keep == 0 && n == 0; run.begun > begun || run.begun < begun && !futile {
		t.Fatalf("%d of %d hooks were begun", run.begun, begun)
	}
}

// resent compares what became of archives that waited.
func (m *model) resent(t *rapid.T, reports []platform.Report, wanted []*record) {
	if len(reports) != len(wanted) {
		t.Fatalf("sent again: %+v, want %+v", reports, wanted)
	}
	for i, r := range wanted {
		report, want := reports[i], core.OK
		if report.Backup.ID != r.id || len(report.Agents) != len(r.agents) {
			t.Fatalf("%s was sent again: %+v, want %+v", report.Backup.ID, report.Result, r)
		}
		states, errs := map[string]core.State{}, map[string]error{}
		for _, res := range report.Agents {
			states[res.Agent], errs[res.Agent] = res.State, res.Err
			if (res.Err == nil) != (res.State == core.Stored) {
				t.Fatalf("%s: %+v", r.id, res)
			}
		}
		r.lacks(func(agent string) answer {
			takes, stored := m.takes(agent, r.id), states[agent] == core.Stored
			switch {
			case !stored && states[agent] != core.Pending, stored && takes == no, !stored && takes == yes:
				t.Fatalf("%s of %s, which takes it or not (%d): %q, %v", r.id, agent, takes, states[agent], errs[agent])
			case stored:
				m.backups[r.id].at[agent] = true
				return takes // it may have something of an earlier try besides
			case takes == maybe:
				m.backups[r.id].perhaps[agent] = true
			}
			want = core.Degraded
			return no
		})
		r.sealed = want != core.OK
		if want == core.OK {
			m.happened.resent++
		}
		if report.Outcome != want || (report.Err != nil) != (want != core.OK) {
			t.Fatalf("%s is %s, want %s: %v", r.id, report.Outcome, want, report.Err)
		}
		r.untidy = false
	}
}

// recovered compares a recover that lived with the model.
func (m *model) recovered(t *rapid.T, got platform.Recovery, stranger bool) {
	_, posts := m.hear(t)
	owing := map[core.ID]bool{}
	if stranger {
		m.owed(t, got.Payments, posts, owing)
	} else {
		m.payments(t, got.Payments, posts)
	}
	found := m.takeover("", owing)
	for _, r := range m.sorted() {
		if !owing[r.id] {
			r.settled(t)
		}
	}
	m.mourned(t, got.Killed, found.over)
	m.clear(found.over)
	m.resent(t, got.Sent, found.wanted)
	done, left, most := len(owing) == 0, len(found.said), len(found.said)
	for _, s := range got.Sent {
		done = done && s.Outcome == core.OK
	}
	for _, p := range m.Places {
		switch m.sweeps(p.Name) {
		case no:
			left++
			most++
		case maybe:
			most++
		}
	}
	if len(got.Left) < left || len(got.Left) > most || got.Done() != (done && len(got.Left) == 0) {
		t.Fatalf("left %v, want %d to %d; done %v, but for that %v", got.Left, left, most, got.Done(), done)
	}
	for _, id := range found.said {
		m.givenUp++
		if !strings.Contains(errors.Join(got.Left...).Error(), "archive of "+id+" waited") {
			t.Fatalf("%s was given up, and nothing said: %v", id, got.Left)
		}
	}
}

// mourned compares what is said of runs that were killed: of each of which there is no
// backup, and that has not said so itself, and of no other that there is none.
func (m *model) mourned(t *rapid.T, killed []platform.Killed, over []*record) {
	for _, k := range killed {
		r := m.records[k.ID]
		if r == nil || !slices.Contains(over, r) || k.Job != r.job || r.sealed || !r.killed || r.ended {
			t.Fatalf("%s is said to be lost: %+v", k.ID, r)
		}
		if !k.Sent && m.somewhere(k.ID) || k.Sent && (!r.keep.IsZero() || !m.backups[k.ID].plan.packs()) {
			t.Fatalf("%+v is said of %+v, %+v", k, r, m.backups[k.ID])
		}
		m.mourning++
	}
	for _, r := range over {
		said := slices.ContainsFunc(killed, func(k platform.Killed) bool { return k.ID == r.id })
		if r.killed && !r.sealed && !r.ended && !m.somewhere(r.id) && !said {
			t.Fatalf("%s was killed, nobody has it, and nothing is said: %+v", r.id, r)
		}
	}
}

// somewhere says whether an agent has a backup.
func (m *model) somewhere(id core.ID) bool {
	for _, stored := range m.backups[id].at {
		if stored {
			return true
		}
	}
	return false
}

// owed compares what a program said that cannot undo hooks.
func (m *model) owed(t *rapid.T, made []platform.Payment, posts []event, owing map[core.ID]bool) {
	for _, p := range made {
		r := m.records[p.ID]
		if r == nil || !r.dead || !p.Owed || p.Err == nil {
			t.Fatalf("payment %+v of %+v", p, r)
		}
		owing[p.ID] = true
	}
	for _, r := range m.sorted() {
		if r.low > 0 && !owing[r.id] || len(posts) > 0 {
			t.Fatalf("%s owes, and that is not said: %+v, did %v", r.id, made, posts)
		}
	}
}
