package platform_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"pgregory.net/rapid"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

// compare holds the disk against the model after a command that lived.
func (m *model) compare(t *rapid.T) {
	d := m.disk(t)
	for _, r := range m.sorted() {
		k, there := d.records[r.id]
		if len(r.agents) == 0 && len(r.perhaps) == 0 && there || len(r.agents) > 0 && !there {
			t.Fatalf("%s is kept (%v) for %v: %+v", r.id, there, k.Agents, r)
		}
		m.adoptRecord(t, r, k, there)
		if there && !r.untidy {
			m.tidy(t, r, k, d)
		}
	}
	m.adopt(t, d)
}

func (m *model) disk(t *rapid.T) disk {
	d, err := m.look()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// tidy demands that nothing lies in the folder of a record that is of no use.
func (m *model) tidy(t *rapid.T, r *record, k kept, d disk) {
	want := []string{"ledger.jsonl", "lock", "run.json"}
	waits := r.sealed && !r.over
	if r.sealed {
		want = append(want, "backup.json")
	}
	if waits && m.Spool == "" {
		want = append(want, "archive")
	}
	slices.Sort(want)
	if !slices.Equal(k.files, want) {
		t.Fatalf("%s keeps %v, want %v: %+v", r.id, k.files, want, r)
	}
	if m.Spool != "" && slices.Contains(d.spools, r.id) != waits {
		t.Fatalf("the spool has %v: %+v", d.spools, r)
	}
}

// adoptRecord takes over which agents a record names.
func (m *model) adoptRecord(t *rapid.T, r *record, k kept, there bool) {
	if !there {
		delete(m.records, r.id)
		if _, err := os.Stat(m.at("state", "ledger", string(r.id)+".jsonl")); err != nil {
			t.Fatalf("the ledger of %s is lost: %v", r.id, err)
		}
		return
	}
	for _, agent := range r.agents {
		if !slices.Contains(k.Agents, agent) {
			t.Fatalf("%s forgot %s: names %v, %+v", r.id, agent, k.Agents, r)
		}
	}
	for _, agent := range k.Agents {
		if !slices.Contains(r.agents, agent) && !slices.Contains(r.perhaps, agent) {
			t.Fatalf("%s names %s in vain: %+v", r.id, agent, r)
		}
	}
	r.agents, r.perhaps = k.Agents, nil
}

// adopt takes over which backups are listed, and demands that whatever else lies
// somewhere is named by a record.
func (m *model) adopt(t *rapid.T, d disk) {
	for _, id := range slices.Sorted(maps.Keys(d.records)) {
		if m.records[id] == nil {
			t.Fatalf("%s is kept, and nobody knows of it", id)
		}
	}
	for _, id := range d.spools {
		if m.records[id] == nil {
			t.Fatalf("the archive of %s is left", id)
		}
	}
	for _, p := range m.Places {
		for _, id := range d.left[p.Name] {
			if r := m.records[id]; r == nil || !slices.Contains(r.agents, p.Name) {
				t.Fatalf("something of %s is left at %s: %+v", id, p.Name, r)
			}
		}
		for _, id := range slices.Sorted(maps.Keys(d.stored[p.Name])) {
			if m.backups[id] == nil {
				t.Fatalf("%s at %s is nobody's", id, p.Name)
			}
		}
		for _, id := range slices.Sorted(maps.Keys(m.backups)) {
			m.adoptBackup(t, id, m.backups[id], p.Name, d.stored[p.Name][id])
		}
	}
	for _, b := range m.backups {
		clear(b.perhaps)
	}
}

func (m *model) adoptBackup(t *rapid.T, id core.ID, b *backup, agent string, listed bool) {
	switch {
	case b.at[agent] && !listed:
		t.Fatalf("%s is lost at %s", id, agent)
	case listed && !b.at[agent] && !b.perhaps[agent]:
		t.Fatalf("%s is listed at %s: %+v", id, agent, *b)
	case !listed || b.whole[agent]:
		return
	}
	if err := m.whole(agent, id); err != nil {
		t.Fatal(err)
	}
	b.at[agent], b.whole[agent] = true, true
}

// died takes over what a command came to that may have been killed.
func (m *model) died(t *rapid.T) {
	run, _ := m.hear(t)
	d := m.disk(t)
	for id := range d.records {
		if run == nil && m.records[id] == nil && m.Plan.Job != "" {
			run = m.begun(id) // it could not say so any more
		}
	}
	if m.Plan.Wrong != missing {
		found := m.takeover(m.Plan.Job, nil)
		for _, r := range found.wanted {
			r.mayLack(func(agent string) answer { return m.takes(agent, r.id) }, m.backups[r.id].perhaps)
		}
		for _, r := range found.over {
			r.mayLack(m.sweeps, map[string]bool{})
		}
	} else if run != nil {
		t.Fatalf("%s began without a source", run.id)
	}
	for _, r := range m.sorted() {
		m.interrupted(t, r, d)
	}
	if run != nil {
		m.bereaved(t, run, d)
	}
	m.adopt(t, d)
}

// mayLack is for agents that may have been asked: those that said yes then are no
// longer named, or still.
func (r *record) mayLack(said func(agent string) answer, perhaps map[string]bool) {
	r.lacks(func(agent string) answer {
		if said(agent) == no {
			return no
		}
		perhaps[agent] = true
		return maybe
	})
	r.untidy = true
}

// interrupted takes over what became of an earlier run.
func (m *model) interrupted(t *rapid.T, r *record, d disk) {
	k, there := d.records[r.id]
	ended := !there || !k.has("run.json") // the rest of the folder goes with the next command
	if ended && (len(r.agents) > 0 || r.low > 0) {
		t.Fatalf("%s is forgotten: %v, %+v", r.id, k.files, r)
	}
	if ended && there {
		k.Agents = nil
	}
	sealed := k.has("backup.json")
	if sealed && !r.sealed || r.sealed && !sealed && len(r.agents) > 0 {
		t.Fatalf("%s has an archive that waits or not (%v): %+v", r.id, sealed, r)
	}
	r.sealed = sealed
	r.ended = ended || k.ended
	m.adoptRecord(t, r, k, there)
}

// bereaved takes over what is there of the run that was killed.
func (m *model) bereaved(t *rapid.T, r *record, d disk) {
	p, b := m.Plan, m.backups[r.id]
	k, there := d.records[r.id]
	r.dead, r.untidy, r.killed, r.sealed = true, true, true, k.has("backup.json")
	m.records[r.id] = r
	somewhere := false
	for _, place := range m.Places {
		name, listed := place.Name, d.stored[place.Name][r.id]
		somewhere = somewhere || listed
		b.perhaps[name] = p.packs() && m.takes(name, r.id) != no
		switch waits := p.packs() && p.Keep > 0; {
		case listed || !waits && m.sweeps(name) != no:
			r.perhaps = append(r.perhaps, name)
		default:
			r.agents = append(r.agents, name)
		}
	}
	if r.sealed && (!p.packs() || p.Keep == 0) || !r.sealed && p.Keep > 0 && somewhere && len(r.agents) > 0 {
		t.Fatalf("the archive of %s waits or not (%v): %v, %+v", r.id, r.sealed, k.files, r)
	}
	if there && !k.has("run.json") && r.begun == 0 && !somewhere {
		r.agents = nil // it was killed before it did anything
	}
	if !there && r.low > 0 {
		t.Fatalf("%s owes, and is forgotten: %+v", r.id, r)
	}
	m.interrupted(t, r, d)
}

// undisturbed demands that nothing has changed.
func (m *model) undisturbed(t *rapid.T, before disk) {
	if run, posts := m.hear(t); run != nil || len(posts) > 0 {
		t.Fatalf("ran %v, %v", run, posts)
	}
	if after := m.disk(t); !reflect.DeepEqual(before, after) {
		t.Fatalf("before:\n%+v\nafter:\n%+v", before, after)
	}
}

// restorable restores every backup that is listed, from one agent after the other.
func (m *model) restorable(t *rapid.T) {
	p := m.platform()
	all, n := p.Agents, 0
	for _, id := range slices.Sorted(maps.Keys(m.backups)) {
		b := m.backups[id]
		has := func(a core.Agent) bool { return b.at[a.Name()] }
		if !slices.ContainsFunc(all, has) {
			continue
		}
		for !has(all[n%len(all)]) {
			n++
		}
		p.Agents = []core.Agent{all[n%len(all)]}
		n++
		dest := m.at("restored")
		if got, err := p.Restore(t.Context(), id, dest, platform.RestoreOptions{}); err != nil || got.Backup.Job != b.plan.Job || got.Lost > 0 {
			t.Fatalf("restore of %s: %+v, %v", id, got, err)
		}
		source, err := filepath.Rel("/", m.at("source", b.plan.Job, "file"))
		if doc, e := os.ReadFile(filepath.Join(dest, source)); err != nil || e != nil || !bytes.Equal(doc, b.plan.content()) {
			t.Fatalf("%s has other content: %v, %v", id, err, e)
		}
		for i := range b.plan.Hooks {
			doc, err := os.ReadFile(filepath.Join(dest, "hooks", hookName(i), "dump"))
			if err != nil || string(doc) != hookName(i)+" of "+string(id) {
				t.Fatalf("%s has another dump: %q, %v", id, doc, err)
			}
		}
		if err := os.RemoveAll(dest); err != nil {
			t.Fatal(err)
		}
	}
}
