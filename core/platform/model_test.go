package platform_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

// modelSteps is how many steps the model is compared after.
const modelSteps = 2000

// TestModel draws sequences of what happens to a platform: runs that go well, fail
// or are killed, agents that go and come back, time that passes, recovers. After
// each step the state folder, the agents and what was reported are as a model says
// that has nothing but lists of names. At the end of a sequence all that is listed
// is restored.
func TestModel(t *testing.T) {
	root, failed := memory(t), false
	var taken struct {
		steps, sequences int
		happened
	}
	for taken.steps < modelSteps {
		rapid.Check(t, func(t *rapid.T) {
			if taken.steps >= modelSteps && !failed {
				return // rapid would go on for as long again
			}
			failed = true // unless it comes to its end
			taken.sequences++
			m := newModel(t, filepath.Join(root, "scene")) // the same, for errors name it
			defer os.RemoveAll(m.Dir)
			actions := m.actions()
			actions[""] = func(*rapid.T) { taken.steps++ }
			t.Repeat(actions)
			m.end(t)
			taken.add(m.happened)
			failed = false
		})
	}
	t.Logf("%+v", taken)
	if taken.rarely(modelSteps / 200) {
		t.Errorf("what this test is for happened rarely: %+v", taken)
	}
}

// happened counts what a model is worth nothing without.
type happened struct {
	deaths   int // processes that were killed
	paid     int // posts of those
	resent   int // archives that waited and arrived
	givenUp  int // archives that waited in vain
	undone   int // runs that failed
	mourning int // runs that were killed, and said to be
	linked   int // archives that became those of an agent by a link
}

func (h *happened) add(o happened) {
	h.deaths += o.deaths
	h.paid += o.paid
	h.resent += o.resent
	h.givenUp += o.givenUp
	h.undone += o.undone
	h.mourning += o.mourning
	h.linked += o.linked
}

func (h happened) rarely(n int) bool {
	return min(h.deaths, h.paid, h.resent, h.givenUp, h.undone, h.mourning, h.linked) < n
}

// memory is a folder in memory, where there is such a thing.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "offsite-model-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// newModel draws a deployment.
func newModel(t *rapid.T, dir string) *model {
	m := &model{
		scene: scene{
			Dir: dir, Now: time.Date(2026, 11, 23, 4, 59, 0, 0, time.UTC),
			Places: []*place{{Name: "one", Part: 1 << 20}, {Name: "two", Part: 1 << 10}},
		},
		records: map[core.ID]*record{}, backups: map[core.ID]*backup{},
	}
	if rapid.Bool().Draw(t, "three agents") {
		m.Places = append(m.Places, &place{Name: "three", Part: 1 << 20})
	}
	m.Places[0].Links = rapid.Bool().Draw(t, "takes links")
	if rapid.Bool().Draw(t, "spool elsewhere") {
		m.Spool = m.at("spool")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *model) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"run":               func(t *rapid.T) { m.run(t, m.plan(t, nothing)) },
		"run again":         func(t *rapid.T) { m.run(t, m.plan(t, nothing)) },
		"fail":              func(t *rapid.T) { m.run(t, m.plan(t, wrongs...)) },
		"kill a run":        func(t *rapid.T) { m.killRun(t, m.plan(t, nothing)) },
		"kill another":      func(t *rapid.T) { m.killRun(t, m.plan(t, append(wrongs, nothing)...)) },
		"kill a recover":    m.killRecover,
		"recover":           func(t *rapid.T) { m.recover(t, false) },
		"recover strangely": func(t *rapid.T) { m.recover(t, true) },
		"agent down":        func(t *rapid.T) { m.agent(t).Away = true },
		"agent breaks":      func(t *rapid.T) { p := m.agent(t); p.Breaks = rapid.Int64Range(1, 120).Draw(t, "operations") },
		"agent full":        func(t *rapid.T) { m.agent(t).Full = true },
		"agent back":        func(t *rapid.T) { p := m.agent(t); p.Away, p.Full, p.Breaks = false, false, 0 },
		"agents back":       func(t *rapid.T) { m.allBack() },
		"time passes": func(t *rapid.T) {
			m.Now = m.Now.Add(rapid.SampledFrom([]time.Duration{time.Hour, 20 * time.Hour, 72 * time.Hour}).Draw(t, "for"))
		},
		"list": m.list,
	}
}

var wrongs = []wrong{preFails, prePanics, preOptional, postFails, postExits, vanishes, missing}

const keepPending = 48 * time.Hour

// plan draws a run in which one of some things goes wrong.
func (m *model) plan(t *rapid.T, of ...wrong) plan {
	m.runs++
	p := plan{
		Nth:    m.runs,
		Job:    rapid.SampledFrom([]string{"app", "db"}).Draw(t, "job"),
		Size:   rapid.SampledFrom([]int{0, 500, 3000}).Draw(t, "size"),
		Hooks:  rapid.IntRange(0, 3).Draw(t, "hooks"),
		Copies: rapid.IntRange(0, len(m.Places)).Draw(t, "copies"),
		Keep:   rapid.SampledFrom([]time.Duration{keepPending, keepPending, 0}).Draw(t, "keep"),
		Wrong:  rapid.SampledFrom(of).Draw(t, "wrong"),
	}
	if p.Wrong != nothing && p.Wrong != missing {
		p.Hooks = max(p.Hooks, 1)
	}
	p.At = rapid.IntRange(0, max(p.Hooks-1, 0)).Draw(t, "at hook")
	if rapid.Bool().Draw(t, "require") {
		p.Require = []string{m.agent(t).Name}
	}
	return p
}

func (m *model) agent(t *rapid.T) *place { return rapid.SampledFrom(m.Places).Draw(t, "agent") }

func (m *model) allBack() {
	for _, p := range m.Places {
		p.Away, p.Full, p.Breaks = false, false, 0
	}
}

// begin lets a second pass, so that ids are in the order of runs, and makes the
// source of the next.
func (m *model) begin(t *rapid.T, p plan) {
	m.Now, m.Plan, m.Death = m.Now.Add(time.Second), p, death{}
	if p.Job == "" {
		return
	}
	if err := m.prepare(); err != nil {
		t.Fatal(err)
	}
}

func (m *model) run(t *rapid.T, p plan) {
	m.begin(t, p)
	report, err := m.scene.run(t.Context())
	m.ended()
	m.ran(t, report, err)
	m.compare(t)
}

// recover may be by a program that cannot make the hooks.
func (m *model) recover(t *rapid.T, stranger bool) {
	m.begin(t, plan{})
	p := m.platform()
	if stranger {
		p.Hook = nil
	}
	r, err := p.Recover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.ended()
	m.recovered(t, r, stranger)
	m.compare(t)
}

// ended takes note of agents that went away meanwhile.
func (m *model) ended() {
	m.unsure = nil
	for _, a := range m.agents {
		m.linked += int(a.linked.Load())
		if a.broke() {
			m.unsure = append(m.unsure, a.place.Name)
			a.Away, a.Breaks = true, 0
		}
	}
}

func (m *model) killRun(t *rapid.T, p plan) {
	m.begin(t, p)
	m.kill(t, 40)
}

func (m *model) killRecover(t *rapid.T) {
	m.begin(t, plan{})
	m.kill(t, 12)
}

// kill lets a process die at a drawn moment. What it has done by then is read from
// the disk, and is compared with what it may have. A process that came to its end
// before has done all of it.
func (m *model) kill(t *rapid.T, moments int64) {
	where := []string{"clock", "clock", "hooks", "hooks"}
	for _, p := range m.Places {
		where = append(where, p.Name)
	}
	m.Death.Where = rapid.SampledFrom(where).Draw(t, "dies at")
	if n := int64(4 * m.Plan.Hooks); m.Death.Where == "hooks" && n > 0 {
		// Small numbers are drawn more often, and the last posts come when an archive may wait.
		m.Death.After = n - rapid.Int64Range(0, n-1).Draw(t, "moments before the last")
	} else {
		m.Death.After = rapid.Int64Range(1, moments).Draw(t, "moment")
	}
	died, err := m.perish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if died {
		m.deaths++
	}
	m.died(t)
}

// list disturbs nothing and says what the agents hold that answer.
func (m *model) list(t *rapid.T) {
	m.begin(t, plan{})
	before, err := m.look()
	if err != nil {
		t.Fatal(err)
	}
	listing := m.platform().List(t.Context())
	m.ended()
	for _, p := range m.Places {
		m.listed(t, p, listing, before)
	}
	m.undisturbed(t, before)
}

// listed compares what a list says of one agent. A place that nobody has made is not
// empty.
func (m *model) listed(t *rapid.T, p *place, l platform.Listing, d disk) {
	if slices.Contains(m.unsure, p.Name) {
		return // in the middle of the list
	}
	_, err := os.Stat(m.at(p.Name))
	unknown := p.Away || err != nil
	if err := l.Errors[p.Name]; unknown != (err != nil) {
		t.Fatalf("list of %s, which is away or not (%v): %v", p.Name, unknown, err)
	}
	n := 0
	for _, row := range l.Rows {
		want := platform.Missing
		switch {
		case unknown:
			want = platform.Unknown
		case m.has(p.Name, row.Backup.ID):
			want = platform.Stored
			n++
		}
		if got := row.Copies[p.Name]; got != want {
			t.Fatalf("%s at %s is listed as %s, want %s", row.Backup.ID, p.Name, got, want)
		}
	}
	if !unknown && n != len(d.stored[p.Name]) {
		t.Fatalf("%d of %d backups at %s are listed", n, len(d.stored[p.Name]), p.Name)
	}
}

// end lets everything come back: one recover brings every archive everywhere, and a
// second one finds nothing. Then all that is listed is restored.
func (m *model) end(t *rapid.T) {
	m.allBack()
	m.recover(t, false)
	if len(m.records) > 0 {
		t.Fatalf("left when everything is back: %v", m.records)
	}
	m.recover(t, false)
	m.restorable(t)
}
