package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

const agentsHelp = `Shows the kinds of agents that this program was built with, and how a place of
each is written.

With --json there is a line for each kind:

  {"v":1,"name":…,"schemes":[…],"summary":…}

An empty scheme is a word without one.`

func (a *app) agentsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agents",
		Short: "Show the kinds of places that are linked",
		Long:  agentsHelp,
		Args:  arguments(0, 0, "no arguments"),
		RunE:  a.run("", func(context.Context, []string) error { return a.agents() }),
	}
	a.jsonOption(cmd)
	return cmd
}

func (a *app) agents() error {
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, k := range a.kinds.Agents {
		if a.json {
			if err := a.printJSON(struct {
				V       int      `json:"v"`
				Name    string   `json:"name"`
				Schemes []string `json:"schemes"`
				Summary string   `json:"summary"`
			}{1, k.Name, k.Schemes, k.Summary}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", k.Name, strings.Join(starts(k.Schemes), " "), k.Summary)
	}
	return t.Flush()
}

// starts are what places of some schemes begin with.
func starts(schemes []string) (all []string) {
	for _, s := range schemes {
		if s != "" {
			all = append(all, s+":")
		}
	}
	return all
}
