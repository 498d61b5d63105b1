package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/archive"
	"github.com/offsite-backup/offsite/core/platform"
)

const backupHelp = `Packs files and folders once and stores the same bytes at every place. A place
that lies in what is backed up is left out of it.

PLACE is a directory (./dir, /dir, local:/dir) or a URL of one of the agents that
"offsite agents" shows. A URL must not hold a password.

By default all places must store the backup: one that does not makes the command
fail, and those that did keep theirs. With --copies and --require fewer are
enough, and the command ends as degraded.

Exit codes: 0 stored; 1 failed: what is to be backed up is not there, or not
enough places stored it; 2 the command line is wrong; 3 degraded: not all places
stored it, or files could not be read; 130 interrupted. A file that vanishes while
it is read is a warning and 0.

` + reportHelp

type backupOptions struct {
	to, exclude, tags, require []string
	name, spool                string
	copies                     int
	allowEmpty                 bool
}

func (a *app) backupCommand() *cobra.Command {
	var o backupOptions
	cmd := &cobra.Command{
		Use:     "backup PATH… --to PLACE…",
		Short:   "Back up files and folders",
		Long:    backupHelp,
		Example: "  offsite backup ~/notes --to ./copies\n  offsite backup /etc /srv/app --to /mnt/disk --to /mnt/share --copies 1 --exclude '*.tmp'",
		Args:    arguments(1, -1, "PATH…, what to back up"),
		RunE: a.run("a copy that is listed is whole, and of the others nothing is left that counts; do the same again for a new backup",
			func(ctx context.Context, args []string) error { return a.backup(ctx, args, o) }),
	}
	toOption(cmd, &o.to)
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "`name` of the backup, for people")
	f.StringArrayVar(&o.exclude, "exclude", nil, "`pattern` of names to leave out; one with / inside counts from\nPATH, with / first from the root, with / last it is a folder")
	f.StringArrayVar(&o.tags, "tag", nil, "`key=value` kept with the backup")
	f.StringVar(&o.spool, "spool", "", spoolUsage)
	f.IntVar(&o.copies, "copies", 0, "how many places are `enough` (default all)")
	f.StringArrayVar(&o.require, "require", nil, "`name` of a place that must store it, whatever --copies says")
	f.BoolVar(&o.allowEmpty, "allow-empty", false, "a PATH may hold no file")
	a.jsonOption(cmd)
	return cmd
}

const spoolUsage = "`folder` for the archive on its way (default below --state)"

func (a *app) backup(ctx context.Context, paths []string, o backupOptions) error {
	places, err := a.places("--to ", o.to)
	if err != nil {
		return err
	}
	job, err := o.job(paths, places)
	if err != nil {
		return err
	}
	odd := &oddities{app: a}
	job.Odd = odd.report
	return a.store(ctx, places, func(s *session) platform.Report {
		s.Spool = absolute(o.spool)
		report, _ := s.Run(ctx, job) // the report has the error
		odd.close()
		return report
	}, restoreBack)
}

func restoreBack(b core.Backup) string { return "offsite restore " + string(b.ID) + " ./restored" }

func (o backupOptions) job(paths []string, places []place) (platform.Job, error) {
	tags, err := parseTags(o.tags)
	if err != nil {
		return platform.Job{}, err
	}
	if o.copies < 0 || o.copies > len(places) {
		return platform.Job{}, usagef("--copies %d: there are %d of --to", o.copies, len(places))
	}
	if err := archive.CheckExclude(o.exclude); err != nil {
		return platform.Job{}, usagef("--exclude: %w", err)
	}
	require, err := o.required(places)
	if err != nil {
		return platform.Job{}, err
	}
	job := platform.Job{
		Label: o.name, Paths: paths, Exclude: o.exclude, AllowEmpty: o.allowEmpty,
		Copies: o.copies, Require: require, Tags: tags, Trigger: "manual",
	}
	for _, p := range places {
		for _, path := range paths {
			if err := p.inside(path); err != nil {
				return platform.Job{}, err
			}
		}
		if p.dir != "" {
			job.Leave = append(job.Leave, p.dir)
		}
	}
	return job, nil
}

// required are the names of the agents that --require names, by their names or as
// they are written after --to.
func (o backupOptions) required(places []place) (names []string, err error) {
	for _, r := range o.require {
		name := ""
		for _, p := range places {
			if r == p.name || r == p.written {
				name = p.name
			}
		}
		if name == "" {
			return nil, usagef("--require %s is none of the places of --to", r)
		}
		names = append(names, name)
	}
	return names, nil
}
