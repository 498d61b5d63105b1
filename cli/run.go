package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

const runHelp = `Runs jobs of the configuration, one after the other: those that are named, or else
all, in the order of the file. What is wrong in the configuration is found before
the first begins.

A run pays first what a run that was killed owes: what is left of its hooks is
ended, and their posts run. Then it pauses, packs, and undoes the pause, while the
archive is sent to every agent of the job. An agent that does not take it keeps
nobody else from it: the archive waits on this machine, for as long as the job's
keep_pending says, and the next run of the job, or "offsite recover", sends it.

Exit codes: 0 everything is where it should be; 1 failed: a required hook, what is
to be backed up, or not enough agents stored it; 2 the command line or the
configuration is wrong, and nothing was touched; 3 degraded: enough agents stored
it but not all, files could not be read, or a post failed; 6 busy: another process
runs that job; 130 interrupted. Of several jobs, the worst counts: 1 before 2, 6
and 3; the others run all the same.

` + reportHelp

type runOptions struct{ spool string }

func (a *app) runCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:     "run [JOB…]",
		Short:   "Run jobs of the configuration, with hooks",
		Long:    runHelp,
		Example: "  offsite run\n  offsite run web1 --config /etc/offsite/offsite.yaml",
		Args:    arguments(0, -1, "JOB…, which jobs"),
		RunE:    a.run("", func(ctx context.Context, args []string) error { return a.runJobs(ctx, args, o) }),
	}
	cmd.Flags().StringVar(&o.spool, "spool", "", spoolUsage)
	a.jsonOption(cmd)
	return cmd
}

// A task is one job that is about to run.
type task struct {
	platform.Job
	to []string // names of agents
}

// runJobs finds what is wrong before it runs the first job.
func (a *app) runJobs(ctx context.Context, names []string, o runOptions) (err error) {
	f, err := a.configuration()
	if err != nil {
		return err
	}
	if err := a.hasState(); err != nil {
		return err
	}
	tasks, err := a.tasks(ctx, f, names)
	if err != nil {
		return err
	}
	s, err := a.connect(ctx, used(a.placesOf(f), tasks))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.Spool = absolute(o.spool)
	code := exitOK
	for _, t := range tasks {
		err := a.runTask(ctx, s.only(t.to), t)
		if context.Cause(ctx) != nil {
			return err
		}
		if err != nil {
			a.complainOf(t.Name+": ", err)
		}
		code = worst(code, exitCode(err))
	}
	if code != exitOK {
		return told(code)
	}
	return nil
}

// tasks are the jobs of some names, or all.
func (a *app) tasks(ctx context.Context, f *config.File, names []string) (tasks []task, err error) {
	if len(names) == 0 {
		for _, j := range f.Jobs {
			names = append(names, j.Name)
		}
	}
	if len(names) == 0 {
		return nil, usagef("%s has no jobs to run", f.Path)
	}
	var errs []error
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return nil, usagef("job %s is named twice", name)
		}
		t, err := a.task(ctx, f, name)
		tasks, errs = append(tasks, t), append(errs, err)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := errors.Join(errs...); err != nil {
		return nil, usageError{err: err}
	}
	return tasks, nil
}

func (a *app) task(ctx context.Context, f *config.File, name string) (t task, err error) {
	j, err := f.Job(name)
	if err != nil {
		return t, usageError{err: err}
	}
	t.to = j.To
	if t.Job, err = j.Open(ctx, a.secrets()); err != nil {
		return t, err
	}
	for _, p := range a.placesOf(f) {
		if p.dir != "" {
			t.Leave = append(t.Leave, p.dir)
		}
	}
	t.Hooks, t.Trigger = a.loud(name+": ", t.Hooks), "schedule"
	if a.ask {
		t.Trigger = "manual"
	}
	return t, nil
}

// used are the places that tasks send to.
func used(places []place, tasks []task) []place {
	return slices.DeleteFunc(places, func(p place) bool {
		return !slices.ContainsFunc(tasks, func(t task) bool { return slices.Contains(t.to, p.name) })
	})
}

func (a *app) runTask(ctx context.Context, s *session, t task) error {
	odd := &oddities{app: a}
	t.Odd = odd.report
	ended := a.watch(s)
	report, _ := s.Run(ctx, t.Job) // the report has the error
	odd.close()
	ended() // before anything else is told
	if report.Untold != nil {
		a.warnAll(part(t.Name), report.Untold)
	}
	report.Backup.Job = t.Name
	err := a.report(s, report, restoreBack(report.Backup))
	if context.Cause(ctx) == nil {
		return err
	}
	return interrupted(whatWaits(report), errors.Join(err, context.Cause(ctx)))
}

// whatWaits says what is left of a run that was interrupted.
func whatWaits(r platform.Report) string {
	var waiting []string
	for _, a := range r.Agents {
		if a.State == core.Pending {
			waiting = append(waiting, a.Agent)
		}
	}
	if len(waiting) == 0 {
		return "posts have run, and of what was not stored nothing is left that counts; do the same again for a new backup"
	}
	return `what was packed waits for ` + strings.Join(waiting, ", ") + `: the next run of the job or "offsite recover" sends it`
}
