// Package cli is the command line: it turns words into calls of core/platform and
// what those answer into lines for people, JSON lines for scripts, and an exit
// code.
//
// A program links the kinds that it wants and hands them over:
//
//	func main() {
//		cli.Program{
//			Agents: core.Kinds{local.Kind(), s3.Kind()},
//			Hooks:  []config.HookKind{command.Kind{Env: os.Environ()}},
//			End:    command.End,
//		}.Main()
//	}
//
// Each command is one file. What a command needs of the world comes through the
// app, so that nothing here asks the system behind its back.
package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
)

// A Program is what a command line is made of besides this package.
type Program struct {
	Agents core.Kinds
	Hooks  []config.HookKind

	// End ends what is left of a process group that a hook of a dead process ran in,
	// and answers nil where nothing is. Nil: nothing is ended.
	End func(context.Context, core.Process) error
}

// Main runs the command line of this process and exits with its code. It never
// returns.
func (p Program) Main() {
	a := &app{
		kinds:   config.Kinds{Agents: p.Agents, Hooks: p.Hooks},
		end:     p.End,
		in:      os.Stdin,
		out:     bufio.NewWriter(os.Stdout),
		console: &console{w: os.Stderr},
		env:     environment(os.Environ()),
		now:     time.Now,
		uid:     os.Geteuid(),
		home:    os.UserHomeDir,
		host:    os.Hostname,
		build:   debug.ReadBuildInfo,
		quit:    os.Exit,
	}
	a.bars = drawable(os.Stderr, a.env["TERM"])
	a.ask = term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd()))
	os.Exit(a.main(os.Args[1:]))
}

// drawable says whether bars can be drawn on f. There are terminals of no size,
// where nothing of them would be seen.
func drawable(f *os.File, kind string) bool {
	columns, rows, err := term.GetSize(int(f.Fd()))
	return err == nil && columns > 0 && rows > 0 && kind != "dumb"
}

// An app is the world as commands see it.
type app struct {
	kinds   config.Kinds
	end     func(context.Context, core.Process) error
	in      io.Reader
	out     *bufio.Writer // the result; keeps the first error of writing
	console *console      // everything else
	env     map[string]string
	now     func() time.Time
	uid     int // -1 where there is none
	home    func() (string, error)
	host    func() (string, error)
	build   func() (*debug.BuildInfo, bool)
	quit    func(code int) // ends the process at once
	bars    bool           // whether the console can draw
	ask     bool           // whether a person can answer

	// Options of every command.
	quiet, verbose bool
	state, config  string

	json    bool // of every command that has a result
	started bool // whether a command runs: errors before are of the command line
}

// environment makes a map of what os.Environ returns.
func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, e := range environ {
		// Windows has names that begin with "=".
		if i := strings.Index(e[min(1, len(e)):], "="); i >= 0 {
			env[e[:i+1]] = e[i+2:]
		}
	}
	return env
}

// main runs one command line and returns its exit code.
func (a *app) main(args []string) int {
	ctx, stop := a.interruptible(context.Background())
	defer stop()
	err := a.noPasswords(args)
	if err == nil {
		err = a.execute(ctx, args)
	}
	if flush := a.out.Flush(); flush != nil {
		err = errors.Join(err, fmt.Errorf("writing the result to standard output: %w", flush))
	}
	a.complain(err)
	return exitCode(err)
}

func (a *app) execute(ctx context.Context, args []string) error {
	root := a.rootCommand()
	if found, rest, err := root.Find(args); err == nil && found == root && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") && !strings.HasPrefix(rest[0], cobra.ShellCompRequestCmd) {
		// Before its options are found to be those of no command.
		return usageError{err: noCommand(root, rest), command: root.CommandPath()}
	}
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.started {
		return usageError{err: err, command: cmd.CommandPath()}
	}
	return err
}

const rootHelp = `offsite takes a backup of files and gets it, whole and checked, to several
places at once.

  offsite backup ~/notes --to ./copies
  offsite list --from ./copies
  offsite restore latest ./restored --from ./copies

For what is backed up every night there is a configuration: "offsite init" writes
one to begin with, "offsite run" does what it says. It is --config, else the first
that is there of ./offsite.yaml, $XDG_CONFIG_HOME/offsite/offsite.yaml and
/etc/offsite/offsite.yaml. Commands that read and are given no --from mean all
agents of the configuration.

Every option has an environment variable: --spool is OFFSITE_SPOOL. One that may
be given several times takes a line for each. What is given as an option counts
more, and an empty variable counts as none.

Exit codes: 0 ok; 1 failed; 2 the command line or the configuration is wrong, and
nothing was touched; 3 degraded: done in part; 4 no such backup; 5 damage found;
6 busy: another run of this job; 130 interrupted.`

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:                        "offsite",
		Short:                      "Backups, whole and checked, at several places",
		Long:                       rootHelp,
		SilenceUsage:               true,
		SilenceErrors:              true,
		SuggestionsMinimumDistance: 2,
		Args:                       cobra.ArbitraryArgs,
		RunE:                       noCommand,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.optionsFromEnv(cmd.Flags()); err != nil {
				return err
			}
			if a.quiet && a.verbose {
				return errors.New("--quiet and --verbose at once")
			}
			return nil
		},
	}
	root.SetOut(a.out)
	root.SetErr(a.console)
	f := root.PersistentFlags()
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress and no warnings on standard error, errors alone")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "every warning, and what agents log")
	f.StringVar(&a.state, "state", "", "`folder` for what is owed between runs\n(default $XDG_STATE_HOME/offsite, else /var/lib/offsite for root\nand ~/.local/state/offsite for others)")
	f.StringVar(&a.config, "config", "", "`file` of agents and jobs (default see \"offsite --help\")")
	root.AddCommand(
		a.runCommand(), a.recoverCommand(), a.initCommand(), a.configCommand(),
		a.backupCommand(), a.listCommand(), a.showCommand(), a.lsCommand(), a.catCommand(),
		a.restoreCommand(), a.uploadCommand(), a.downloadCommand(), a.deleteCommand(),
		a.doctorCommand(), a.agentsCommand(), a.scaffoldCommand(), a.versionCommand(),
	)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		if !cmd.Runnable() {
			cmd.RunE = noCommand // else its help would look like success
		}
	}
	return root
}

func noCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("no command")
	}
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown command %q: is %s meant?", args[0], strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// run makes a command's action of f: from here on errors are the world's, unless
// they say that they are the command line's. resume is told to who interrupts it.
func (a *app) run(resume string, f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.started = true
		ctx := cmd.Context()
		err := f(ctx, args)
		switch u := (usageError{}); {
		case err != nil && errors.Is(context.Cause(ctx), errInterrupted):
			return interrupted(resume, err)
		case errors.As(err, &u):
			return usageError{err: err, command: cmd.CommandPath()}
		}
		return err
	}
}

// arguments checks how many words follow a command; most < 0 means any number.
// what names them for people.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return fmt.Errorf("expected %s", what)
		case most >= 0 && len(args) > most:
			return fmt.Errorf("unexpected %q: expected %s", args[most], what)
		}
		for _, arg := range args {
			if arg == "" {
				return fmt.Errorf("an argument is empty: expected %s", what)
			}
		}
		return nil
	}
}
