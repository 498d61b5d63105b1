package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/archive"
)

const catHelp = `Writes one file of a backup to standard output, without fetching the rest. What is
written is compared with its checksum: when it was not right, the command says so
at its end and does not exit with 0.

Exit codes: 0 ok; 1 failed, or PATH is not a file in the backup; 2 the command
line is wrong; 4 no such backup; 5 damaged; 130 interrupted.`

func (a *app) catCommand() *cobra.Command {
	var from []string
	cmd := &cobra.Command{
		Use:     "cat ID PATH [--from PLACE…]",
		Short:   "Write one file of a backup to standard output",
		Long:    catHelp,
		Example: "  offsite cat 20261123T045900Z-mzxw6ytboi4dk etc/hosts --from ./copies",
		Args:    arguments(2, 2, "ID PATH"),
		RunE: a.run("", func(ctx context.Context, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			return a.read(ctx, from, func(s *session) error { return a.cat(ctx, s, id, insideName(args[1])) })
		}),
	}
	fromOption(cmd, &from)
	return cmd
}

func (a *app) cat(ctx context.Context, s *session, id core.ID, name string) (err error) {
	contents, stored, err := s.Contents(ctx, id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stored.Close()) }()
	file, err := regular(ctx, contents, id, name)
	if err != nil {
		return err
	}
	r, err := contents.Open(ctx, file)
	if err != nil {
		return err
	}
	if n, err := io.Copy(a.out, r); err != nil {
		return errors.Join(fmt.Errorf("%q of %s after %s: %w", name, id, size(n), err), r.Close())
	}
	return r.Close()
}

// regular finds a file, by any of its hard links.
func regular(ctx context.Context, contents *archive.Reader, id core.ID, name string) (archive.Entry, error) {
	e, err := contents.Find(ctx, name)
	if err == nil && e.Mode.IsRegular() && e.Link != "" {
		e, err = contents.Find(ctx, e.Link)
	}
	switch {
	case errors.Is(err, core.ErrNotFound):
		return e, notInside(name, id)
	case err != nil:
		return e, err
	case e.Mode&fs.ModeSymlink != 0:
		return e, result{exitFailed, fmt.Errorf("%q in %s is a symbolic link to %q", name, id, e.Link)}
	case !e.Mode.IsRegular():
		return e, result{exitFailed, fmt.Errorf("%q in %s is no file but a %s", name, id, typeOf(e.Mode))}
	}
	return e, nil
}
