package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

const deleteHelp = `Deletes one backup at every place of --from, or every agent of the configuration. On a terminal it asks first; elsewhere
--yes is needed. What was deleted cannot be uploaded again under its id.

Exit codes: 0 no place has it any more; 1 a place still has it, or the answer was
no; 2 the command line is wrong; 4 no such backup; 130 interrupted.

With --json the result is one line:

  {"v":1,"id":…,"agents":{"NAME":"deleted"},"errors":{"NAME":…}}

Of an agent it says deleted, missing (it did not have it) or failed.`

func (a *app) deleteCommand() *cobra.Command {
	var from []string
	var yes bool
	cmd := &cobra.Command{
		Use:     "delete ID [--from PLACE…]",
		Short:   "Delete a backup",
		Long:    deleteHelp,
		Example: "  offsite delete 20261123T045900Z-mzxw6ytboi4dk --from ./copies",
		Args:    arguments(1, 1, "ID, which backup"),
		RunE: a.run(`"offsite list" shows where it is left; do the same again`, func(ctx context.Context, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			if !yes && !a.ask {
				return usagef("delete needs --yes where nobody can be asked")
			}
			return a.read(ctx, from, func(s *session) error { return a.delete(ctx, s, id, yes) })
		}),
	}
	fromOption(cmd, &from)
	cmd.Flags().BoolVar(&yes, "yes", false, "delete without asking")
	a.jsonOption(cmd)
	return cmd
}

func (a *app) delete(ctx context.Context, s *session, id core.ID, yes bool) error {
	if !yes {
		if err := a.confirm(ctx, s, id); err != nil {
			return err
		}
	}
	results, err := s.Delete(ctx, id)
	if errors.Is(err, core.ErrNotFound) {
		return err
	}
	if print := a.printDeleted(id, results); print != nil {
		return print
	}
	if err != nil {
		return result{exitFailed, err}
	}
	return nil
}

var errNo = result{exitFailed, errors.New("nothing was deleted: the answer was not yes")}

// confirm asks a person.
func (a *app) confirm(ctx context.Context, s *session, id core.ID) error {
	row, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	var at []string
	for _, agent := range s.names() {
		if row.Copies[agent] != platform.Missing {
			at = append(at, visible(agent))
		}
	}
	fmt.Fprintf(a.console, "delete %s%s at %s? [y/N] ", id, holds(row.Backup), strings.Join(at, ", "))
	answer, err := a.answer(ctx)
	if err != nil {
		return err
	}
	if answer != "y" && answer != "yes" {
		return errNo
	}
	return nil
}

// answer reads a line, or ends with ctx: reading itself cannot be interrupted, and
// its goroutine ends with the process or with the line.
func (a *app) answer(ctx context.Context) (string, error) {
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(a.in).ReadString('\n')
		lines <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line := <-lines:
		return line, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (a *app) printDeleted(id core.ID, results []core.AgentResult) error {
	states, errs := map[string]string{}, map[string]string{}
	deleted := int64(0)
	for _, r := range results {
		switch {
		case r.Err == nil:
			states[r.Agent] = "deleted"
			deleted++
		case errors.Is(r.Err, core.ErrNotFound):
			states[r.Agent] = "missing"
		default:
			states[r.Agent], errs[r.Agent] = "failed", r.Err.Error()
		}
	}
	if a.json {
		return a.printJSON(struct {
			V      int               `json:"v"`
			ID     core.ID           `json:"id"`
			Agents map[string]string `json:"agents"`
			Errors map[string]string `json:"errors,omitempty"`
		}{1, id, states, errs})
	}
	for _, r := range results {
		a.printf("%s: %s\n", visible(r.Agent), states[r.Agent])
	}
	a.printf("deleted %s at %s\n", id, count(deleted, "place", "places"))
	return nil
}
