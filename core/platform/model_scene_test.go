package platform_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

// childScene is the variable that tells a process to play a scene and die in it.
const childScene = "OFFSITE_MODEL_SCENE"

// TestMain is also the process that is killed.
func TestMain(m *testing.M) {
	doc := os.Getenv(childScene)
	if doc == "" {
		os.Exit(m.Run())
	}
	var s scene
	if err := json.Unmarshal([]byte(doc), &s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if s.Plan.Job == "" {
		_, _ = s.platform().Recover(context.Background())
	} else {
		_, _ = s.run(context.Background())
	}
}

// A scene is what a command finds, as plain data: a folder with a state folder, a
// source for each job and a directory for each agent, and how those behave.
type scene struct {
	Dir    string
	Now    time.Time
	Spool  string // see platform.Platform
	Places []*place
	Plan   plan // of a run; a recover has no job
	Death  death

	agents []*conduct
}

// A plan is one run of a job, and what goes wrong in it.
type plan struct {
	Job     string
	Nth     int // run of all
	Size    int // bytes of the source
	Hooks   int
	Copies  int
	Require []string
	Keep    time.Duration
	Wrong   wrong
	At      int // the hook at which that happens
}

// A wrong is what goes wrong on this machine.
type wrong string

const (
	nothing     wrong = ""
	preFails    wrong = "pre fails"
	prePanics   wrong = "pre panics"
	preOptional wrong = "optional pre fails"
	postFails   wrong = "post fails"
	postExits   wrong = "post ends its goroutine"
	vanishes    wrong = "source vanishes after the hook's pre"
	missing     wrong = "source is missing"
)

// packs says whether the run comes to an archive.
func (p plan) packs() bool {
	return p.Wrong == nothing || p.Wrong == preOptional || p.Wrong == postFails || p.Wrong == postExits
}

func (s *scene) at(name ...string) string {
	return filepath.Join(append([]string{s.Dir}, name...)...)
}

// platform is one of a process that begins now.
func (s *scene) platform() *platform.Platform {
	p := &platform.Platform{
		Env: core.Env{
			StateDir: s.at("state"),
			Chance:   rand.NewChaCha8([32]byte{byte(s.Plan.Nth)}), // the same ids when a sequence is tried again
			Now: func() time.Time {
				s.Death.moment("clock")
				return s.Now
			},
		},
		Spool: s.Spool,
		Hook:  s.undo,
	}
	s.agents = nil
	for _, place := range s.Places {
		s.agents = append(s.agents, place.agent(s.Dir, s.Death.moment))
		p.Agents = append(p.Agents, s.agents[len(s.agents)-1])
	}
	return p
}

func (s *scene) source() string { return s.at("source", s.Plan.Job) }

// prepare makes the source of the run.
func (s *scene) prepare() error {
	err := os.RemoveAll(s.source())
	if s.Plan.Wrong == missing {
		return err
	}
	return errors.Join(err, os.MkdirAll(s.source(), 0o700), os.WriteFile(filepath.Join(s.source(), "file"), s.Plan.content(), 0o600))
}

// content is that of the source, which does not become smaller when it is packed.
func (p plan) content() []byte {
	b := make([]byte, p.Size)
	x := uint32(p.Nth)*2654435761 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return fmt.Appendf(b, "\nrun %d of %s", p.Nth, p.Job)
}

func (s *scene) run(ctx context.Context) (platform.Report, error) {
	job := platform.Job{
		Name: s.Plan.Job, Paths: []string{s.source()}, Copies: s.Plan.Copies, Require: s.Plan.Require, KeepPending: s.Plan.Keep,
		Began: func(id core.ID) { s.say("began", id, s.Plan.Job) },
	}
	for i := range s.Plan.Hooks {
		job.Hooks = append(job.Hooks, s.hook(i))
	}
	return s.platform().Run(ctx, job)
}

// hook is the i-th of the run. It dumps what it is, so that the archive has that.
func (s *scene) hook(i int) core.Hook {
	name, here := hookName(i), s.Plan.At == i
	d := debt{Of: name}
	if here && (s.Plan.Wrong == postFails || s.Plan.Wrong == postExits) {
		d.Wrong = s.Plan.Wrong
	}
	doc, _ := json.Marshal(d) // strings can always be
	return core.Hook{
		Name:     name,
		Optional: here && s.Plan.Wrong == preOptional,
		Debt:     doc,
		Post:     s.post(d),
		Pre: func(_ context.Context, m core.Moment) error {
			s.Death.moment("hooks")
			s.say("pre", m.ID, name)
			err := os.WriteFile(filepath.Join(m.Dir, "dump"), []byte(name+" of "+string(m.ID)), 0o600)
			s.Death.moment("hooks")
			if here {
				err = errors.Join(err, s.spoil())
			}
			return err
		},
	}
}

func hookName(i int) string { return fmt.Sprintf("hook%d", i) }

var errPlanned = errors.New("planned")

// spoil does what is to go wrong in a pre.
func (s *scene) spoil() error {
	switch s.Plan.Wrong {
	case preFails, preOptional:
		return errPlanned
	case prePanics:
		panic(errPlanned)
	case vanishes:
		return os.RemoveAll(s.source())
	}
	return nil
}

// A debt is what a process needs to undo a hook of another.
type debt struct {
	Of    string
	Wrong wrong
}

// undo makes the hook of a debt: platform.Platform.Hook.
func (s *scene) undo(_ context.Context, name string, doc []byte) (core.Hook, error) {
	var d debt
	err := json.Unmarshal(doc, &d)
	if err == nil && d.Of != name {
		err = fmt.Errorf("the debt of %s is that of %s", name, d.Of)
	}
	return core.Hook{Name: name, Post: s.post(d)}, err
}

func (s *scene) post(d debt) func(context.Context, core.Moment) error {
	return func(_ context.Context, m core.Moment) error {
		s.Death.moment("hooks")
		s.say("post", m.ID, d.Of)
		s.Death.moment("hooks")
		switch d.Wrong {
		case postFails:
			return errPlanned
		case postExits:
			runtime.Goexit()
		}
		return nil
	}
}

// say writes what happens to the log of all processes.
func (s *scene) say(what string, id core.ID, of string) {
	f, err := os.OpenFile(s.at("log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(f, what, id, of)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		panic(err)
	}
}

// An event is a line of that log.
type event struct {
	what string // "began", "pre" or "post"
	id   core.ID
	of   string // a job, or a hook
}

// heard takes the log.
func (s *scene) heard() (events []event, err error) {
	doc, err := os.ReadFile(s.at("log"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for line := range strings.Lines(string(doc)) {
		words := strings.Fields(line)
		events = append(events, event{words[0], core.ID(words[1]), words[2]})
	}
	return events, errors.Join(err, os.Remove(s.at("log")))
}

// perish plays the scene in a process that kills itself with SIGKILL in it, and says
// whether that came to its moment.
func (s *scene) perish(ctx context.Context) (bool, error) {
	doc, err := json.Marshal(s)
	if err != nil {
		return false, err
	}
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, os.Args[0])
	// The race detector would wait for a second at the end of each.
	cmd.Env = append(os.Environ(), childScene+"="+string(doc), "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	cmd.Stdout, cmd.Stderr = &output, &output
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && output.Len() == 0 {
		return true, nil // what fails says why
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, output.Bytes())
	}
	return false, err
}
