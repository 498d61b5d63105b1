package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/disk"
)

const doctorHelp = `Looks whether a run would find what it needs: at the places that are given, or else
at everything that the configuration names.

At each place it stores, lists, reads and removes scratch objects of a few bytes
below tmp/, and says which right is missing, by the name that the provider has for
it. It begins to list what is in data/ and meta/, and in a tree of files makes an empty
file in each, which no list shows, and removes it. It compares the clocks, and looks at
what else it may see: free space, versions, locks, lifecycles that would remove backups.
A directory that is not there is made, as the first upload does. On this machine it
looks whether the folders of --state and --spool can be written to and have room; of the
configuration it checks what "offsite config check" does. No hook runs.

A note is no mistake if it is meant so: credentials that may not delete make, list and
restore backups, and a thief of them cannot remove any. Then one scratch object stays,
and in a tree of files the two empty ones.

Exit codes: 0 nothing is wrong; 1 something that backups need is missing; 2 the
command line or the configuration is wrong; 3 warnings: backups are made, and something
will go wrong one day; 130 interrupted.

With --json there is a line for each thing that was looked at:

  {"v":1,"agent":…,"what":…,"verdict":"failed","kind":"denied","right":"s3:PutObject",
   "why":…,"do":…}

verdict is ok, note, warning or failed. What is empty from "kind" on is left out, and
so is the agent, of this machine.`

type doctorOptions struct{ spool string }

func (a *app) doctorCommand() *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:     "doctor [PLACE…]",
		Short:   "Look whether backups have all that they need",
		Long:    doctorHelp,
		Example: "  offsite doctor\n  offsite doctor 's3://acme-backups/web1?region=eu-central-1'",
		Args:    arguments(0, -1, "PLACE…, which places"),
		RunE:    a.run("", func(ctx context.Context, args []string) error { return a.doctor(ctx, args, o) }),
	}
	cmd.Flags().StringVar(&o.spool, "spool", "", spoolUsage)
	a.jsonOption(cmd)
	return cmd
}

// A diagnosis is what was found of one agent, or of this machine: "".
type diagnosis struct {
	agent string
	found []core.Finding
}

func (a *app) doctor(ctx context.Context, written []string, o doctorOptions) (err error) {
	if slices.ContainsFunc(written, opaque) {
		return errPassword("the command line")
	}
	if err := a.hasState(); err != nil {
		return err
	}
	here := diagnosis{}
	var places []place
	var jobs []config.Job
	if len(written) > 0 {
		places, err = a.places("", written)
	} else {
		var f *config.File
		if f, err = a.checked(ctx); err == nil {
			places, jobs = a.placesOf(f), f.Jobs
			here.found = append(here.found, core.Finding{What: "configuration", Verdict: core.VerdictOK, Why: f.Path + ": " + holding(f)})
		}
	}
	if err != nil {
		return err
	}
	s, err := a.connect(ctx, places)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.Spool = absolute(o.spool)
	here.found = append(here.found, s.folders(jobs)...)
	all := append([]diagnosis{here}, s.examine(ctx)...)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return a.printDiagnoses(all)
}

// folders looks at what a run writes to on this machine.
func (s *session) folders(jobs []config.Job) (found []core.Finding) {
	dirs := []string{s.Env.StateDir}
	if s.Spool != "" {
		dirs = append(dirs, s.Spool)
	}
	for _, dir := range dirs {
		if err := writable(dir); err != nil {
			return append(found, core.Finding{What: "folder", Verdict: core.VerdictFailed, Err: err})
		}
		f := core.Finding{What: "space", Verdict: core.VerdictWarning}
		space, err := disk.Of(dir)
		if f.Err = err; err == nil {
			f = space.Finding()
		}
		f.Why = strings.TrimRight(dir+": "+f.Why, ": ")
		found = append(found, f)
	}
	for _, j := range jobs {
		if err := s.Room(j.Name); err != nil {
			found = append(found, core.Finding{What: "space for " + j.Name, Verdict: core.VerdictFailed, Err: err})
		}
	}
	return found
}

// writable says whether a folder can be made and written to, and leaves the folder.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "doctor-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString("offsite looked here whether it may write\n")
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// examineTime bounds what is waited for one agent.
const examineTime = 2 * time.Minute

// examine asks all agents at once, and answers in the order of their places.
func (s *session) examine(ctx context.Context) []diagnosis {
	all := make([]diagnosis, len(s.Agents))
	var each sync.WaitGroup
	for i, agent := range s.Agents {
		each.Go(func() {
			within, cancel := context.WithTimeoutCause(ctx, examineTime, core.Errorf(core.ErrUnavailable, "not through within %v", examineTime))
			defer cancel()
			all[i] = diagnosis{agent.Name(), examine(within, agent)}
		})
	}
	each.Wait()
	return all
}

func examine(ctx context.Context, agent core.Agent) (found []core.Finding) {
	x, ok := agent.(core.Examiner)
	if !ok {
		return []core.Finding{{What: "rights", Verdict: core.VerdictNote, Why: "an agent of this kind cannot look at its place: make a backup to find out"}}
	}
	for f, err := range x.Examine(ctx) {
		if err != nil {
			f = core.Finding{What: "rights", Verdict: core.VerdictFailed, Err: err}
		}
		found = append(found, f)
	}
	return found
}

func (a *app) printDiagnoses(all []diagnosis) error {
	var failed, doubtful []string
	for _, d := range all {
		if err := a.printDiagnosis(d); err != nil {
			return err
		}
		for _, f := range d.found {
			switch f.Verdict {
			case core.VerdictFailed:
				failed = append(failed, d.of(f))
			case core.VerdictWarning:
				doubtful = append(doubtful, d.of(f))
			}
		}
	}
	switch {
	case failed != nil:
		return result{exitFailed, fmt.Errorf("backups lack what they need: %s", strings.Join(failed, ", "))}
	case doubtful != nil:
		return result{exitDegraded, fmt.Errorf("look at %s", strings.Join(doubtful, ", "))}
	}
	return nil
}

func (d diagnosis) of(f core.Finding) string {
	if d.agent == "" {
		return "this machine's " + f.What
	}
	return d.agent + ": " + f.What
}

type findingLine struct {
	V       int            `json:"v"`
	Agent   string         `json:"agent,omitempty"`
	What    string         `json:"what"`
	Verdict core.Verdict   `json:"verdict"`
	Kind    core.ErrorKind `json:"kind,omitempty"`
	Right   string         `json:"right,omitempty"`
	Why     string         `json:"why,omitempty"`
	Do      string         `json:"do,omitempty"`
}

// printDiagnosis writes what needs no word in one line, and of all else a line each.
func (a *app) printDiagnosis(d diagnosis) error {
	if a.json {
		for _, f := range d.found {
			if err := a.printJSON(findingLine{1, d.agent, f.What, f.Verdict, core.KindOf(f.Err), f.Right, why(f), toDo(f)}); err != nil {
				return err
			}
		}
		return nil
	}
	name, fine := d.agent, []string(nil)
	if name == "" {
		name = "this machine"
	}
	for _, f := range d.found {
		if f.Verdict == core.VerdictOK && why(f) == "" {
			fine = append(fine, f.What)
		}
	}
	if fine != nil {
		a.printf("%s: ok: %s\n", visible(name), strings.Join(fine, ", "))
	}
	for _, f := range d.found {
		if f.Verdict != core.VerdictOK || why(f) != "" {
			a.printf("%s\n", visible(sentence(name, f)))
		}
	}
	return nil
}

// sentence is a finding in one line.
func sentence(name string, f core.Finding) string {
	text := fmt.Sprintf("%s: %s: %s", name, f.Verdict, f.What)
	if f.Right != "" {
		text += ": " + f.Right + " is missing"
	}
	if why(f) != "" {
		text += ": " + why(f)
	}
	if toDo(f) != "" {
		text += " (" + toDo(f) + ")"
	}
	return text
}

// why is what was seen, in one line.
func why(f core.Finding) string {
	words := []string{f.Why, message(f.Err)}
	return strings.ReplaceAll(strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), ": "), "\n", "; ")
}

func toDo(f core.Finding) string {
	if f.Do == "" && f.Err != nil {
		return advice(f.Err)
	}
	return f.Do
}
