package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

const uploadHelp = `Sends an existing file as a backup, as it is, and keeps its extension. What is no
archive of offsite's own cannot be listed inside or restored: "offsite download"
fetches it.

The same command again goes on with an upload that did not finish, while the file
has the same path, size, time and inode. All places must store it.

Exit codes: 0 stored; 1 failed; 2 the command line is wrong; 130 interrupted.

` + reportHelp

type uploadOptions struct {
	to, tags []string
	id, name string
}

func (a *app) uploadCommand() *cobra.Command {
	var o uploadOptions
	cmd := &cobra.Command{
		Use:     "upload FILE --to PLACE…",
		Short:   "Send a file as a backup, as it is",
		Long:    uploadHelp,
		Example: "  offsite upload dump.sql.gz --to ./copies",
		Args:    arguments(1, 1, "FILE, what to send"),
		RunE: a.run("the same command goes on where this one stopped",
			func(ctx context.Context, args []string) error { return a.upload(ctx, args[0], o) }),
	}
	toOption(cmd, &o.to)
	f := cmd.Flags()
	f.StringVar(&o.id, "id", "", "`id` of the backup (default a new one)")
	f.StringVar(&o.name, "name", "", "`name` of the backup, for people")
	f.StringArrayVar(&o.tags, "tag", nil, "`key=value` kept with the backup")
	a.jsonOption(cmd)
	return cmd
}

func (a *app) upload(ctx context.Context, file string, o uploadOptions) error {
	places, err := a.places("--to ", o.to)
	if err != nil {
		return err
	}
	upload := platform.UploadOptions{Label: o.name}
	if upload.Tags, err = parseTags(o.tags); err != nil {
		return err
	}
	if o.id != "" {
		if upload.ID, err = parseID(o.id); err != nil {
			return err
		}
	}
	return a.store(ctx, places, func(s *session) platform.Report {
		report, _ := s.Upload(ctx, file, upload) // the report has the error
		return report
	}, func(b core.Backup) string {
		return "offsite download " + string(b.ID) + " " + shellWord("./"+string(b.ID)+core.Extension(file))
	})
}
