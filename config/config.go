package config

import (
	"log/slog"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/offsite-backup/offsite/core"
)

// Kinds are what a program links: the words that a configuration knows.
type Kinds struct {
	Agents core.Kinds
	Hooks  []HookKind
}

// A HookKind is one kind of hook. It holds nothing that changes.
type HookKind interface {
	// Name is the word of a configuration: "command". It is none of the words that
	// all hooks have.
	Name() string

	// Config returns new options with their defaults, a pointer to a struct. The
	// package comment says which types its fields may have.
	Config() any

	// Hook makes a hook of options that Config returned and a configuration filled.
	// It answers core.ErrInvalid for options that do not make one, and touches
	// nothing else. Name, Optional and Timeout of the hook are set by the caller;
	// so is Debt, unless the kind has its own. log, which may be nil, is told what is
	// no result and no error of an action.
	Hook(name string, config any, log *slog.Logger) (core.Hook, error)
}

// A File is what one configuration says. It does not change; its secrets are looked
// up each time that something of it is opened.
type File struct {
	Path   string
	Agents []Agent // in the order of the file; at least one
	Jobs   []Job   // in the order of the file; none is meant for a machine that only reads
}

// An Agent is a place that a configuration names. See Agent.Open.
type Agent struct {
	Name   string
	Kind   string
	Config core.Config // as it is written, without its secrets; for Place and what else it can be asked
	AgentOptions
	options where
	kind    core.Kind
}

// AgentOptions are those of every kind of agent.
type AgentOptions struct {
	// Limit is how many bytes a second are sent and received, in all; 0 means no limit.
	// The limiter is the caller's, see Agent.Open.
	Limit int64

	core.Patience
}

// A Job is what to back up and where to. See Job.Open.
type Job struct {
	Name       string   `config:"-"`
	Paths      []string `config:"path,set"`
	Exclude    []string `config:"set"`
	AllowEmpty bool
	Hooks      []Hook
	MaxPause   time.Duration
	To         []string `config:"required,set"` // names of agents
	Copies     int      // 0 means all of To
	Require    []string `config:"set"` // of To
	Tags       core.Tags

	// KeepPending is how long a packed archive is kept for agents that did not take
	// it. The default is a week.
	KeepPending time.Duration

	Restore Restore

	at where
}

// Restore says what a restore does around the files of a job.
type Restore struct {
	Hooks []Hook // whose pre runs before anything is restored, and whose post after it
}

// A Hook is one of a job. See Secrets.Hooks.
type Hook struct {
	Kind string `config:"-"`
	HookOptions
	options where
	kind    HookKind
	entry   *yaml.Node
}

// HookOptions are those of every kind of hook.
type HookOptions struct {
	Name     string        `config:"required"`
	Timeout  time.Duration // of each action; 0 means core.DefaultTimeout
	Optional bool          // a failed pre is reported, and does not stop the run
}

// A where says where something stands in a file. What a kind makes of its options
// is read again each time that it is opened: with the secrets of then.
type where struct {
	file string
	key  string
	node *yaml.Node
}

// error is what is wrong with it as a whole.
func (w where) error(err error) error { return Errors{w.mistake(err)} }

func (w where) mistake(err error) *Error {
	return &Error{File: w.file, Line: w.node.Line, Column: w.node.Column, Key: w.key, Text: detail(err)}
}

// Agent is the agent of a name, or nil.
func (f *File) Agent(name string) *Agent {
	for i := range f.Agents {
		if f.Agents[i].Name == name {
			return &f.Agents[i]
		}
	}
	return nil
}

// Job is the job of a name. It answers core.ErrInvalid where there is none, and
// says which there are.
func (f *File) Job(name string) (*Job, error) {
	var known []string
	for i := range f.Jobs {
		if f.Jobs[i].Name == name {
			return &f.Jobs[i], nil
		}
		known = append(known, f.Jobs[i].Name)
	}
	if len(known) == 0 {
		return nil, core.Errorf(core.ErrInvalid, "%s has no jobs", f.Path)
	}
	return nil, core.Errorf(core.ErrInvalid, "%s has no job %q%s", f.Path, clip(name), meant(name, known))
}
