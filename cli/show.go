package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

const showHelp = `Shows the metadata of one backup, and which places have it:

` + copiesHelp + `

Exit codes: 0 all is well; 1 failed; 2 the command line is wrong; 3 a place could
not be read, or its copy differs or is damaged; 4 no such backup; 5 no place has
metadata of it that can be read.

With --json the result is one line; backup is the metadata document as it is
stored, with fields that this version does not know:

  {"v":1,"backup":{"schema":…,"id":…,…},"agents":{"NAME":"stored"}}`

func (a *app) showCommand() *cobra.Command {
	var from []string
	cmd := &cobra.Command{
		Use:     "show ID [--from PLACE…]",
		Short:   "Show the metadata of a backup",
		Long:    showHelp,
		Example: "  offsite show 20261123T045900Z-mzxw6ytboi4dk --from ./copies",
		Args:    arguments(1, 1, "ID, which backup"),
		RunE: a.run("", func(ctx context.Context, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			return a.read(ctx, from, func(s *session) error { return a.show(ctx, s, id) })
		}),
	}
	fromOption(cmd, &from)
	a.jsonOption(cmd)
	return cmd
}

func (a *app) show(ctx context.Context, s *session, id core.ID) error {
	row, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	errs := wrong(row)
	if row.Backup.SHA256 == "" {
		return result{exitDamage, errors.Join(append(errs, fmt.Errorf("%s: %w", id, errUnreadable))...)}
	}
	if a.json {
		err = a.showJSON(row)
	} else {
		err = showText(a.out, row, s.names())
	}
	return errors.Join(err, standing(errs))
}

func (a *app) showJSON(row platform.Row) error {
	doc, err := row.Backup.Encode()
	if err != nil {
		return err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, doc); err != nil {
		return err
	}
	return a.printJSON(struct {
		V      int                      `json:"v"`
		Backup json.RawMessage          `json:"backup"`
		Agents map[string]platform.Copy `json:"agents"`
	}{1, compact.Bytes(), row.Copies})
}

func showText(w io.Writer, row platform.Row, agents []string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range fields(row.Backup) {
		if f.value != "" {
			fmt.Fprintf(t, "%s\t%s\n", f.name, f.value)
		}
	}
	for _, agent := range agents {
		fmt.Fprintf(t, "at %s\t%s\n", visible(agent), row.Copies[agent])
	}
	return t.Flush()
}

type field struct{ name, value string }

// fields is metadata for people. Text in it is somebody else's, so it is quoted
// where a terminal would take it for more than text.
func fields(b core.Backup) []field {
	fs := []field{
		{"id", string(b.ID)},
		{"job", optional(b.Job)},
		{"name", optional(b.Name)},
		{"created", utc(b.Created)},
		{"by", optional(strings.Trim(b.Origin.Host+"/"+b.Origin.Instance, "/"))},
		{"trigger", optional(b.Trigger)},
		{"archive", b.Archive},
		{"media type", optional(b.MediaType)},
		{"stored", exactly(b.Size)},
		{"sha256", b.SHA256},
	}
	if b.TOC != nil {
		fs = append(fs, field{"content", exactly(b.ContentSize)}, field{"entries", fmt.Sprint(b.Entries)})
	}
	if b.Lost > 0 {
		fs = append(fs, field{"lost", count(b.Lost, "entry", "entries") + " that could not be read"})
	}
	fs = append(fs, field{"encryption", optional(b.Encryption)})
	for _, r := range b.Recipients {
		fs = append(fs, field{"recipient", quoted(r)})
	}
	for _, h := range b.Hooks {
		fs = append(fs, field{"hook", fmt.Sprintf("%s: %s, %d ms", quoted(h.Name), visible(h.Status), h.Millis)})
	}
	for _, k := range slices.Sorted(maps.Keys(b.Tags)) {
		fs = append(fs, field{"tag", quoted(k) + " = " + quoted(b.Tags[k])})
	}
	for _, k := range slices.Sorted(maps.Keys(b.Extra)) {
		fs = append(fs, field{"extra", quoted(k) + " = " + visible(string(b.Extra[k]))})
	}
	return fs
}

// optional is text that a backup need not have.
func optional(s string) string {
	if s == "" {
		return ""
	}
	return quoted(s)
}

func exactly(n int64) string {
	if n < 1024 {
		return size(n)
	}
	return fmt.Sprintf("%s (%d bytes)", size(n), n)
}
