package platform_test

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/offsite-backup/offsite/core"
)

// A model is what should be: the records of the state folder and the backups at the
// agents, as lists of names.
type model struct {
	scene
	records map[core.ID]*record
	backups map[core.ID]*backup
	unsure  []string // agents that went away in the middle of the last command
	runs    int
	happened
}

// A backup is one that may be listed.
type backup struct {
	plan    plan
	at      map[string]bool // agents that have it
	perhaps map[string]bool // agents that may, after the last command
	whole   map[string]bool // agents at which it was compared with its metadata
}

// A record is a run of which something may be left.
type record struct {
	id      core.ID
	job     string
	keep    time.Time
	hooks   int
	wrong   string   // the hook whose post goes wrong
	agents  []string // that are to be asked once more
	perhaps []string // those that may be, after the last command
	sealed  bool     // whether an archive waits for agents
	over    bool     // whether that was given up

	begun   int  // hooks whose pre began
	low     int  // of hooks that were begun the first one that was undone, else their number
	undoing bool // whether any was
	dead    bool // its process was killed: what was not noted happens again
	untidy  bool // nobody has cleared up in its folder since
	killed  bool // its process was killed, and nobody has cleared up at all since
	ended   bool // it said how it went, or another that it was killed, which may have been killed then
}

func (r *record) waits(now time.Time) bool { return r.sealed && !now.After(r.keep) }

// String is what a failure shows.
func (r *record) String() string { return fmt.Sprintf("%+v", *r) }

// event checks that hooks are begun in order and undone in reverse. A process that
// was killed may have noted that a hook is begun, and not that it is undone.
func (r *record) event(e event) error {
	i := 0
	for i < r.hooks && hookName(i) != e.of {
		i++
	}
	switch {
	case e.what == "pre" && !r.undoing && !r.dead && i == r.begun:
		r.begun++
		r.low = r.begun
		return nil
	case e.what == "post" && i < r.hooks && (i == r.low-1 || r.dead && i == r.low):
		r.low, r.undoing = i, true
		return nil
	}
	return fmt.Errorf("%s of %s of %s is not what comes next: %+v", e.what, e.of, e.id, r)
}

// An answer is what an agent will say.
type answer int

const (
	no answer = iota
	maybe
	yes
)

// sweeps says whether an agent can be swept.
func (m *model) sweeps(agent string) answer {
	switch {
	case slices.Contains(m.unsure, agent):
		return maybe
	case m.place(agent).Away:
		return no
	}
	return yes
}

// takes says whether an agent can store a backup, or has it.
func (m *model) takes(agent string, id core.ID) answer {
	if m.place(agent).Full && !m.has(agent, id) {
		return no
	}
	return m.sweeps(agent)
}

func (m *model) has(agent string, id core.ID) bool {
	b := m.backups[id]
	return b != nil && b.at[agent]
}

func (m *model) place(agent string) *place {
	return m.Places[slices.IndexFunc(m.Places, func(p *place) bool { return p.Name == agent })]
}

// sorted are the records by id.
func (m *model) sorted() (all []*record) {
	for _, r := range m.records {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *record) int { return a.id.Compare(b.id) })
	return all
}

// begun makes the record of a run.
func (m *model) begun(id core.ID) *record {
	p := m.Plan
	r := &record{id: id, job: p.Job, hooks: p.Hooks}
	if p.Keep > 0 {
		r.keep = m.Now.Add(p.Keep)
	}
	if p.Wrong == postFails || p.Wrong == postExits {
		r.wrong = hookName(p.At)
	}
	m.backups[id] = &backup{plan: p, at: map[string]bool{}, perhaps: map[string]bool{}, whole: map[string]bool{}}
	return r
}

// hear goes through what the last command did with hooks: it pays for runs before
// it in their order, and then may run itself.
func (m *model) hear(t *rapid.T) (run *record, posts []event) {
	events, err := m.heard()
	if err != nil {
		t.Fatal(err)
	}
	var last core.ID
	for _, e := range events {
		if e.id.Compare(last) < 0 {
			t.Fatalf("not in the order of runs: %v", events)
		}
		last = e.id
		r := m.records[e.id]
		switch {
		case e.what == "began" && run == nil && r == nil && e.of == m.Plan.Job:
			run = m.begun(e.id)
			continue
		case r != nil && e.what == "post":
			posts = append(posts, e)
			m.paid++
		case run == nil || e.id != run.id:
			t.Fatalf("%v: nobody knows of that", e)
		default:
			r = run
		}
		if err := r.event(e); err != nil {
			t.Fatal(err)
		}
	}
	return run, posts
}

// A takeover is what a command finds of earlier ones.
type takeover struct {
	wanted []*record // archives that it sends
	over   []*record // what it clears up
	said   []string  // of archives that it gives up
}

// takeover is what a command finds that can undo all hooks but those of owing.
func (m *model) takeover(job string, owing map[core.ID]bool) (found takeover) {
	for _, r := range m.sorted() {
		switch {
		case owing[r.id]:
		case r.waits(m.Now) && (job == "" || job == r.job):
			found.wanted = append(found.wanted, r)
		case !r.waits(m.Now):
			if r.sealed && len(r.agents) > 0 {
				found.said = append(found.said, string(r.id))
			}
			found.over = append(found.over, r)
		}
	}
	return found
}

// settled undoes everything: nothing is owed.
func (r *record) settled(t *rapid.T) {
	if r.low > 0 {
		t.Fatalf("hooks of %s are not undone: %+v", r.id, r)
	}
	r.dead = false
}

// clear clears up after what is over.
func (m *model) clear(over []*record) {
	for _, r := range over {
		r.untidy, r.over, r.killed = false, true, false
		r.lacks(m.sweeps)
	}
}

// lacks takes the agents off a record that said yes.
func (r *record) lacks(said func(agent string) answer) {
	var left []string
	for _, agent := range r.agents {
		switch said(agent) {
		case no:
			left = append(left, agent)
		case maybe:
			r.perhaps = append(r.perhaps, agent)
		}
	}
	r.agents = left
}
