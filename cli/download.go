package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/offsite-backup/offsite/core"
)

const downloadHelp = `Fetches the archive of one backup to FILE, as it is stored, and checks it whole
before FILE gets its name. A FILE that is there already stays as it is: an error.
What was fetched before an interruption is not fetched again.

An archive that offsite packed opens with "tar --zstd -xf FILE".

Exit codes: 0 fetched; 1 failed; 2 the command line is wrong; 4 no such backup;
5 damaged, and no other place has it; 130 interrupted.

With --json the result is one line:

  {"v":1,"id":…,"file":…,"size":…,"sha256":…}`

func (a *app) downloadCommand() *cobra.Command {
	var from []string
	cmd := &cobra.Command{
		Use:     "download ID FILE [--from PLACE…]",
		Short:   "Fetch an archive as it is, checked",
		Long:    downloadHelp,
		Example: "  offsite download 20261123T045900Z-mzxw6ytboi4dk notes.tar.zst --from ./copies",
		Args:    arguments(2, 2, "ID FILE"),
		RunE: a.run("the same command goes on where this one stopped", func(ctx context.Context, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			return a.fetch(ctx, from, func(s *session, shown func()) error { return a.download(ctx, s, id, args[1], shown) })
		}),
	}
	fromOption(cmd, &from)
	a.jsonOption(cmd)
	return cmd
}

func (a *app) download(ctx context.Context, s *session, id core.ID, file string, shown func()) error {
	b, err := s.Download(ctx, id, file)
	shown()
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(struct {
			V      int     `json:"v"`
			ID     core.ID `json:"id"`
			File   string  `json:"file"`
			Size   int64   `json:"size"`
			SHA256 string  `json:"sha256"`
		}{1, b.ID, file, b.Size, b.SHA256})
	}
	_, err = fmt.Fprintf(a.out, "downloaded %s: %s to %s, checked\n", b.ID, size(b.Size), quoted(file))
	return err
}
