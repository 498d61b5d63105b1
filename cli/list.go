package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

const copiesHelp = `  stored    the place has it
  missing   the place does not have it
  differs   the place has other bytes under this id than most places
  damaged   what the place has of this id is not what was stored
  unknown   the place, or what it has of this id, could not be read`

const listHelp = `Shows every backup, oldest first: a row for each, and a column for each place.

` + copiesHelp + `

Exit codes: 0 all places were read, and nothing is wrong there; 1 no place could
be read; 2 the command line is wrong; 3 a place could not be read, or has a
backup that differs or is damaged: the others are shown all the same.

With --json there is a line for each backup, and none where there is no backup:

  {"v":1,"id":…,"job":…,"name":…,"created":…,"size":…,"sha256":…,"agents":{"NAME":"stored"}}

created, size and sha256 are null where no place can tell.`

func (a *app) listCommand() *cobra.Command {
	var from []string
	cmd := &cobra.Command{
		Use:     "list [--from PLACE…]",
		Short:   "Show the backups at all places",
		Long:    listHelp,
		Example: "  offsite list --from ./copies",
		Args:    arguments(0, 0, "no arguments: places are given by --from"),
		RunE: a.run("", func(ctx context.Context, _ []string) error {
			return a.read(ctx, from, func(s *session) error { return a.list(ctx, s) })
		}),
	}
	fromOption(cmd, &from)
	a.jsonOption(cmd)
	return cmd
}

func (a *app) list(ctx context.Context, s *session) error {
	l := s.List(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(l.Errors) == len(s.places) && len(l.Rows) == 0 {
		return result{exitFailed, l.Err()}
	}
	if err := a.printRows(s, l.Rows); err != nil {
		return err
	}
	if len(l.Rows) == 0 && len(l.Errors) == 0 {
		a.warn("no backup at " + strings.Join(s.names(), ", "))
	}
	var errs []error
	if err := l.Err(); err != nil {
		errs = append(errs, err)
	}
	for _, row := range l.Rows {
		errs = append(errs, wrong(row)...)
	}
	return standing(errs)
}

// wrong says what is wrong with copies of one backup.
func wrong(row platform.Row) (errs []error) {
	for _, agent := range slices.Sorted(maps.Keys(row.Copies)) {
		switch row.Copies[agent] {
		case platform.Damaged, platform.Unknown:
			if err := row.Errors[agent]; err != nil {
				errs = append(errs, err)
			}
		case platform.Differs:
			errs = append(errs, fmt.Errorf("%s: %s: its bytes are not those of other places", agent, row.Backup.ID))
		}
	}
	return errs
}

func (a *app) printRows(s *session, rows []platform.Row) error {
	if a.json {
		for _, row := range rows {
			if err := a.printJSON(newRowLine(row)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(rows) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	head := []string{"ID", "CREATED", "SIZE", "JOB", "NAME"}
	for _, name := range s.names() {
		head = append(head, visible(name))
	}
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(cells(row, s.names()), "\t"))
	}
	return t.Flush()
}

func cells(row platform.Row, agents []string) []string {
	b := row.Backup
	all := []string{string(b.ID), "-", "-", orDash(b.Job), orDash(b.Name)}
	if b.SHA256 != "" {
		all[1], all[2] = utc(b.Created), size(b.Size)
	}
	for _, agent := range agents {
		all = append(all, string(row.Copies[agent]))
	}
	return all
}

type rowLine struct {
	V       int                      `json:"v"`
	ID      core.ID                  `json:"id"`
	Job     string                   `json:"job"`
	Name    string                   `json:"name"`
	Created *time.Time               `json:"created"`
	Size    *int64                   `json:"size"`
	SHA256  *string                  `json:"sha256"`
	Agents  map[string]platform.Copy `json:"agents"`
}

func newRowLine(row platform.Row) rowLine {
	b := row.Backup
	l := rowLine{V: 1, ID: b.ID, Job: b.Job, Name: b.Name, Agents: row.Copies}
	if b.SHA256 != "" {
		created := b.Created.UTC()
		l.Created, l.Size, l.SHA256 = &created, &b.Size, &b.SHA256
	}
	return l
}

var errUnreadable = errors.New("no place has metadata of it that can be read")
