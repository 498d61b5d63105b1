package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

const restoreHelp = `Puts the files of a backup into the folder DEST, which is absent or empty; its
parent exists. DEST is filled beside its place, as DEST.partial-ID, and gets its
name when it is complete. A file that was /home/u/notes/a is DEST/home/u/notes/a.

"latest" is the newest backup. The nearest place is read first, and when one fails
the next one goes on.

Owners, device nodes and setuid bits are restored only when asked for.

Where a backup is restored whole, without --from, and the configuration has restore
hooks for its job, every pre of them runs before anything is restored, and every
post afterwards, whatever happened; --no-hooks leaves them out. The folder {dir} of
a hook is what a hook of its name dumped, at its place below DEST. With --file or
--below no hooks run.

Exit codes: 0 restored; 1 failed; 2 the command line is wrong; 3 restored, but for
content that is lost, or a post failed, or "latest" may be an older one, as not all
could be read; 4 no such backup; 5 damaged, and no other place has it; 6 busy: the
job runs; 130 interrupted.

With --json the result is one line:

  {"v":1,"id":…,"dest":…,"from":…,"entries":…,"content_size":…,"odd":…,"lost":…,
   "payments":[…],"killed":[…]}

odd counts entries that are not as they were, lost those of them without content.
payments and killed are as those of "offsite run", and left out where they are empty.`

type restoreOptions struct {
	from    []string
	job     string
	noHooks bool
	platform.RestoreOptions
}

func (a *app) restoreCommand() *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use:     "restore ID|latest DEST [--from PLACE…]",
		Short:   "Get files back",
		Long:    restoreHelp,
		Example: "  offsite restore latest ./restored --from ./copies\n  offsite restore latest ./notes --below home/u/notes --from ./copies",
		Args:    arguments(2, 2, "ID|latest DEST"),
	}
	cmd.RunE = a.run("what DEST held is as it was, and do the same again",
		func(ctx context.Context, args []string) error {
			if args[0] != latest {
				if _, err := parseID(args[0]); err != nil {
					return err
				}
			}
			if slices.Contains(o.Files, "") || o.Below == "" && cmd.Flags().Changed("below") {
				return usagef("an empty path: leave --file and --below out to restore everything")
			}
			return a.fetch(ctx, o.from, func(s *session, shown func()) error { return a.restore(ctx, s, args[0], args[1], o, shown) })
		})
	fromOption(cmd, &o.from)
	f := cmd.Flags()
	f.StringArrayVar(&o.Files, "file", nil, "only this `path`, and what lies below it; may be given several times")
	f.StringVar(&o.Below, "below", "", "only what lies below this `path`, straight into DEST")
	f.StringVar(&o.job, "job", "", "`job` whose latest is meant, where there are several")
	f.BoolVar(&o.noHooks, "no-hooks", false, "run no restore hooks")
	f.BoolVar(&o.Overwrite, "overwrite", false, "DEST may hold something; files of the same name are replaced")
	f.BoolVar(&o.Owners, "owners", false, "users, groups and access lists as they were, by number; needs root")
	f.BoolVar(&o.Devices, "devices", false, "device nodes; needs root")
	f.BoolVar(&o.SetID, "setid", false, "setuid and setgid bits, file capabilities, attributes trusted.* and security.*")
	a.jsonOption(cmd)
	return cmd
}

func (a *app) restore(ctx context.Context, s *session, which, dest string, o restoreOptions, shown func()) error {
	id, unread, err := resolveID(ctx, s, which, o.job)
	if err != nil {
		return err
	}
	if unread != nil {
		a.warn(fmt.Sprintf("there may be a newer backup than %s", id))
	}
	odd := &oddities{app: a}
	o.Odd = odd.report
	o.Files, o.Below = insideNames(o.Files), insideName(o.Below)
	done, err := a.restoreAround(ctx, s, id, dest, o)
	odd.close()
	shown()
	a.mourn(done.found.Killed)
	if !a.json {
		a.printEarlier("", done.found.Payments, nil)
	}
	if done.Backup.ID == "" {
		return err
	}
	if print := a.printRestored(done, dest); print != nil {
		return errors.Join(err, print)
	}
	if done.Failed != nil {
		a.warnAll("", done.Failed)
	}
	return standing(done.wrong(unread, err))
}

// wrong is what is not as it should be after a restore.
func (r restored) wrong(unread, err error) (errs []error) {
	if err != nil {
		errs = append(errs, err)
	}
	if unread != nil {
		errs = append(errs, fmt.Errorf("%s is the latest of what could be read: %w", r.Backup.ID, unread))
	}
	if r.Lost > 0 {
		errs = append(errs, fmt.Errorf("%s of %s could not be restored", count(r.Lost, "entry", "entries"), r.Backup.ID))
	}
	return errs
}

// A restored is a restore that was made, or of which there is no Backup, with what
// was found of dead runs before it.
type restored struct {
	platform.Restored
	found platform.Recovery
	hooks []string // that ran around it
}

// restoreAround restores with the hooks of the backup's job around it.
func (a *app) restoreAround(ctx context.Context, s *session, id core.ID, dest string, o restoreOptions) (done restored, err error) {
	job, hooks, err := a.restoreHooks(ctx, s, id, o)
	if err != nil {
		return done, err
	}
	restore := func(ctx context.Context, _ []core.HookRun) error {
		r, err := s.Restore(ctx, id, dest, o.RestoreOptions)
		if err == nil {
			done.Restored = r
		}
		return err
	}
	if len(hooks) == 0 {
		return done, restore(ctx, nil)
	}
	for _, h := range hooks {
		done.hooks = append(done.hooks, visible(h.Name))
	}
	dir := func(hook string) string { return filepath.Join(absolute(dest), "hooks", hook) }
	done.found, err = s.Around(ctx, job, hooks, dir, restore)
	return done, err
}

// restoreHooks are those of the job that a backup is of, where the configuration
// has any.
func (a *app) restoreHooks(ctx context.Context, s *session, id core.ID, o restoreOptions) (job string, hooks []core.Hook, err error) {
	has := func(j config.Job) bool { return len(j.Restore.Hooks) > 0 }
	part := len(o.Files) > 0 || o.Below != ""
	if o.noHooks || part || s.config == nil || !slices.ContainsFunc(s.config.Jobs, has) {
		return "", nil, nil
	}
	row, err := s.Get(ctx, id)
	if err != nil {
		return "", nil, err
	}
	j, err := s.config.Job(row.Backup.Job)
	if err != nil || !has(*j) {
		return "", nil, nil
	}
	if err := a.hasState(); err != nil {
		return "", nil, err
	}
	hooks, err = a.secrets().Hooks(ctx, j.Restore.Hooks)
	if err == nil {
		err = core.Pipeline{Hooks: hooks}.Ready()
	}
	if err == nil {
		return j.Name, a.loud("", hooks), nil
	}
	err = fmt.Errorf("the restore hooks of %s cannot run here, and --no-hooks leaves them out: %w", j.Name, err)
	if errors.Is(err, core.ErrInvalid) {
		err = usageError{err: err}
	}
	return "", nil, err
}

// resolveID is the backup that is meant. unread says what could not be read when
// the latest was looked for.
func resolveID(ctx context.Context, s *session, which, job string) (id core.ID, unread, err error) {
	if which != latest {
		return core.ID(which), nil, nil
	}
	id, unread, err = s.Latest(ctx, job)
	if errors.Is(err, core.ErrInvalid) {
		err = usagef("--job: %w", err)
	}
	return id, unread, err
}

type restoredLine struct {
	V           int           `json:"v"`
	ID          core.ID       `json:"id"`
	Dest        string        `json:"dest"`
	From        string        `json:"from"`
	Entries     int64         `json:"entries"`
	ContentSize int64         `json:"content_size"`
	Odd         int64         `json:"odd"`
	Lost        int64         `json:"lost"`
	Payments    []paymentLine `json:"payments,omitempty"`
	Killed      []core.ID     `json:"killed,omitempty"`
}

func (a *app) printRestored(r restored, dest string) error {
	if a.json {
		return a.printJSON(restoredLine{
			1, r.Backup.ID, dest, r.From, r.Entries, r.Size, r.Odd, r.Lost,
			paymentLines(r.found.Payments), killedIDs(r.found.Killed),
		})
	}
	around := ""
	if len(r.hooks) > 0 {
		around = ", with the hooks " + strings.Join(r.hooks, ", ")
	}
	_, err := fmt.Fprintf(a.out, "restored %s: %s, %s of content, from %s to %s%s\n",
		r.Backup.ID, count(r.Entries, "entry", "entries"), size(r.Size), visible(r.From), quoted(dest), around)
	return err
}
