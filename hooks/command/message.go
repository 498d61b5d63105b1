package command

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/offsite-backup/offsite/core"
)

// A message is what a program is told. Its JSON is written in the package comment.
type message struct {
	V       int          `json:"v"`
	ID      core.ID      `json:"id"`
	Job     string       `json:"job"`
	Phase   core.Phase   `json:"phase"`
	Hook    string       `json:"hook"`
	Dir     string       `json:"dir,omitzero"`
	Error   string       `json:"error,omitzero"`
	Outcome core.Outcome `json:"outcome,omitzero"`
	Agents  []agent      `json:"agents,omitzero"`
	Backup  *core.Backup `json:"backup,omitzero"`
}

// An agent says how one agent's part of a run went.
type agent struct {
	Name  string     `json:"name"`
	State core.State `json:"state"`
	Error string     `json:"error,omitzero"`
}

func (h hook) message(m core.Moment) message {
	return message{V: 1, ID: m.ID, Job: m.Job, Phase: m.Phase, Hook: h.name, Dir: m.Dir, Error: text(m.Err)}
}

// of adds how a run went.
func (m message) of(r core.Result) message {
	m.Outcome, m.Agents, m.Error = r.Outcome, []agent{}, text(r.Err)
	for _, a := range r.Agents {
		m.Agents = append(m.Agents, agent{a.Agent, a.State, text(a.Err)})
	}
	if b := r.Backup; b.ID != "" {
		b.Schema, b.Created = cmp.Or(b.Schema, core.Schema), b.Created.UTC() // as it is stored
		m.Backup = &b
	}
	return m
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// json is one line.
func (m message) json() ([]byte, error) {
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("what it is told is no JSON: %w", err)
	}
	return append(b, '\n'), nil
}

// A system refuses to start a program with too long a variable: 128 KiB on Linux.
const (
	maxError  = 4 << 10
	maxAgents = 32 << 10
)

// The variables that are set, and never inherited: those of a run around this one
// say nothing of this one.
const (
	varID      = "OFFSITE_ID"
	varJob     = "OFFSITE_JOB"
	varPhase   = "OFFSITE_PHASE"
	varHook    = "OFFSITE_HOOK"
	varDir     = "OFFSITE_DIR"
	varError   = "OFFSITE_ERROR"
	varOutcome = "OFFSITE_OUTCOME"
	varAgents  = "OFFSITE_AGENTS"
	varGroup   = "OFFSITE_GROUP" // see mark
)

var variables = []string{varID, varJob, varPhase, varHook, varDir, varError, varOutcome, varAgents, varGroup}

// inherit is the environment of a hook's programs, without what they are told.
func inherit(inherited []string, own map[string]any) map[string]string {
	env := map[string]string{}
	for _, v := range inherited {
		if name, value, ok := strings.Cut(v, "="); ok && name != "" && !slices.Contains(variables, name) {
			env[name] = value
		}
	}
	for name, value := range own {
		switch value := value.(type) {
		case string:
			env[name] = value
		case core.Secret:
			env[name] = value.Reveal()
		}
	}
	return env
}

// environ adds what a program is told.
func (m message) environ(env map[string]string) []string {
	env = maps.Clone(env)
	for name, value := range map[string]string{
		varID: string(m.ID), varJob: m.Job, varPhase: string(m.Phase), varHook: m.Hook, varDir: m.Dir,
		varError: clip(m.Error, maxError), varOutcome: string(m.Outcome), varAgents: clip(m.agents(), maxAgents),
	} {
		if value = strings.ReplaceAll(value, "\x00", ""); value != "" {
			env[name] = value
		}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		all = append(all, name+"="+env[name])
	}
	return all
}

// agents has a line for each.
func (m message) agents() string {
	var lines []string
	for _, a := range m.Agents {
		line := a.Name + ": " + string(a.State)
		if a.Error != "" {
			line += ": " + clip(strings.Join(strings.Fields(a.Error), " "), maxError/4)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// clip cuts a long text, at a character.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}
