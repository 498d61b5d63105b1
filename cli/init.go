package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/offsite-backup/offsite/config"
)

const initHelp = `Writes a configuration to begin with, in which every option is explained: to
./offsite.yaml, or to the file of --config. A file that is there stays as it is.

Exit codes: 0 written; 1 failed, or something is there already; 2 the command line
is wrong.`

func (a *app) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "init",
		Short:   "Write a configuration to begin with",
		Long:    initHelp,
		Example: "  offsite init\n  offsite init --config /etc/offsite/offsite.yaml",
		Args:    arguments(0, 0, "no arguments: a file is given by --config"),
		RunE:    a.run("", func(context.Context, []string) error { return a.init() }),
	}
}

func (a *app) init() error {
	path := cmp.Or(a.config, "offsite.yaml")
	if err := writeNew(path, config.Example()); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and stays as it is: name another file with --config", path)
	} else if err != nil {
		return err
	}
	again := ""
	if a.config != "" {
		again = " --config " + shellWord(path)
	}
	a.printf("wrote %s: say in it what to back up and where to; then\n", quoted(path))
	a.printf("  offsite config check%s\n  offsite run%s\n", again, again)
	return nil
}

// writeNew makes a file that only its owner may read. One that cannot be written
// whole does not stay.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
