package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
)

// find is where the configuration is.
func (a *app) find() (string, error) {
	home, err := a.home()
	if err != nil {
		home = ""
	}
	return config.Find(a.config, a.env, home)
}

// configuration reads the configuration.
func (a *app) configuration() (*config.File, error) {
	path, err := a.find()
	if err != nil {
		return nil, usageError{err: err}
	}
	return a.load(path)
}

// readable is the configuration of a command that reads, and that could have been
// given places instead.
func (a *app) readable() (*config.File, error) {
	path, err := a.find()
	if err != nil {
		return nil, usagef("no place: give at least one --from, such as --from ./copies; %w", usageError{err: err})
	}
	return a.load(path)
}

func (a *app) load(path string) (*config.File, error) {
	f, err := a.kinds.Load(path, a.uid)
	if err != nil {
		return nil, usageError{err: err}
	}
	return f, nil
}

func (a *app) secrets() config.Secrets { return config.Secrets{Env: a.env, Log: a.log()} }

// undo makes the hook of a debt.
func (a *app) undo(ctx context.Context, name string, debt []byte) (core.Hook, error) {
	if debt == nil {
		return core.Hook{}, fmt.Errorf("nothing says how to undo hook %s", name)
	}
	return a.kinds.Hook(ctx, a.secrets(), debt)
}

// placesOf are the agents of a configuration, in the order of the file.
func (a *app) placesOf(f *config.File) (all []place) {
	again := ""
	if a.config != "" {
		again = "--config " + shellWord(a.config)
	}
	for _, g := range f.Agents {
		all = append(all, place{
			written: g.Name, name: g.Name, dir: localDir(g.Config), again: again,
			open: func(ctx context.Context, env core.Env) (core.Agent, error) {
				env.Limit = newLimiter(g.Limit, a.now)
				return g.Open(ctx, a.secrets(), env)
			},
		})
	}
	return all
}

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check the configuration; its schema", SuggestionsMinimumDistance: 2}
	cmd.AddCommand(a.configCheckCommand(), a.configSchemaCommand())
	return cmd
}

const configCheckHelp = `Reads the configuration, looks up every secret that it refers to, and has every
agent and hook check its options. Nothing is asked of a place, and no hook runs.

Exit codes: 0 it can be used; 2 it cannot: there is a line for each mistake, with
file, line, column and key.`

func (a *app) configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the configuration",
		Long:  configCheckHelp,
		Args:  arguments(0, 0, "no arguments: a file is given by --config"),
		RunE:  a.run("", func(ctx context.Context, _ []string) error { return a.checkConfig(ctx) }),
	}
}

func (a *app) checkConfig(ctx context.Context) error {
	f, err := a.checked(ctx)
	if err != nil {
		return err
	}
	a.printf("%s: ok: %s\n", visible(f.Path), holding(f))
	return nil
}

// checked is a configuration in which nothing is wrong.
func (a *app) checked(ctx context.Context) (*config.File, error) {
	f, err := a.configuration()
	if err != nil {
		return nil, err
	}
	if err := f.Check(ctx, a.secrets()); errors.Is(err, core.ErrInvalid) {
		return nil, usageError{err: err}
	} else if err != nil {
		return nil, err
	}
	return f, nil
}

func holding(f *config.File) string {
	return count(int64(len(f.Agents)), "agent", "agents") + ", " + count(int64(len(f.Jobs)), "job", "jobs")
}

const configSchemaHelp = `Prints the JSON schema of the configuration, with the kinds of agents and hooks
that this program was built with: for editors, and for programs that write one.`

func (a *app) configSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON schema of the configuration",
		Long:  configSchemaHelp,
		Args:  arguments(0, 0, "no arguments"),
		RunE: a.run("", func(context.Context, []string) error {
			_, err := a.out.Write(a.kinds.Schema())
			return err
		}),
	}
}
