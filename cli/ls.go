package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/archive"
)

const lsHelp = `Shows the files inside a backup: all, or PATH and what lies below it. Only the
table of contents is fetched.

A name is the absolute path without its leading slash. One that holds control
characters or is not UTF-8 is shown in quotes, with escapes.

Exit codes: 0 ok; 1 failed, or PATH is not in the backup; 2 the command line is
wrong; 4 no such backup; 5 damaged; 130 interrupted.

With --json there is a line for each entry:

  {"v":1,"name":…,"type":"file","mode":"0644","size":…,"modified":…,
   "uid":…,"gid":…,"sha256":…,"link":…}

type is file, directory, symlink, fifo, socket, device or other; mode has the
permission bits and, in front, setuid, setgid and sticky. sha256 is there for
files. link is where a symbolic link points, or the name that a hard link shares.
A name that is not UTF-8 has every wrong byte replaced in "name", and "name_base64"
besides, which is exact; "link_base64" likewise.`

func (a *app) lsCommand() *cobra.Command {
	var from []string
	var long bool
	cmd := &cobra.Command{
		Use:     "ls ID [PATH] [--from PLACE…]",
		Short:   "Show the files inside a backup",
		Long:    lsHelp,
		Example: "  offsite ls -l 20261123T045900Z-mzxw6ytboi4dk home/u/notes --from ./copies",
		Args:    arguments(1, 2, "ID [PATH]"),
		RunE: a.run("", func(ctx context.Context, args []string) error {
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			below := insideName(strings.Join(args[1:], ""))
			return a.read(ctx, from, func(s *session) error { return a.ls(ctx, s, id, below, long) })
		}),
	}
	fromOption(cmd, &from)
	cmd.Flags().BoolVarP(&long, "long", "l", false, "mode, size and time of each")
	a.jsonOption(cmd)
	return cmd
}

func (a *app) ls(ctx context.Context, s *session, id core.ID, below string, long bool) (err error) {
	contents, stored, err := s.Contents(ctx, id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stored.Close()) }()
	some := false
	for e, err := range contents.List(ctx, below) {
		if errors.Is(err, core.ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
		some = true
		if err := a.printEntry(e, long); err != nil {
			return err
		}
	}
	if !some && below != "" {
		return notInside(below, id)
	}
	return nil
}

// notInside is the error of a name that a backup does not have.
func notInside(name string, id core.ID) error {
	return result{exitFailed, fmt.Errorf("%q is not in backup %s: offsite ls %s shows what is", name, id, id)}
}

func (a *app) printEntry(e archive.Entry, long bool) (err error) {
	switch {
	case a.json:
		return a.printJSON(newEntryLine(e))
	case long:
		_, err = fmt.Fprintf(a.out, "%s %14d %s %s%s\n", e.Mode, e.Size, utc(e.ModTime), quoted(e.Name), arrow(e))
	default:
		_, err = fmt.Fprintln(a.out, quoted(e.Name))
	}
	return err
}

func arrow(e archive.Entry) string {
	switch {
	case e.Link == "":
		return ""
	case e.Mode&fs.ModeSymlink != 0:
		return " -> " + quoted(e.Link)
	}
	return " = " + quoted(e.Link)
}

type entryLine struct {
	V          int       `json:"v"`
	Name       string    `json:"name"`
	NameBase64 string    `json:"name_base64,omitempty"`
	Type       string    `json:"type"`
	Mode       string    `json:"mode"`
	Size       int64     `json:"size"`
	Modified   time.Time `json:"modified"`
	UID        int       `json:"uid"`
	GID        int       `json:"gid"`
	SHA256     string    `json:"sha256,omitempty"`
	Link       string    `json:"link,omitempty"`
	LinkBase64 string    `json:"link_base64,omitempty"`
}

func newEntryLine(e archive.Entry) entryLine {
	return entryLine{
		V: 1, Name: e.Name, NameBase64: exact(e.Name), Type: typeOf(e.Mode), Mode: octal(e.Mode), Size: e.Size,
		Modified: e.ModTime.UTC(), UID: e.UID, GID: e.GID, SHA256: e.SHA256, Link: e.Link, LinkBase64: exact(e.Link),
	}
}

// exact keeps the bytes of a name that JSON cannot.
func exact(name string) string {
	if utf8.ValidString(name) {
		return ""
	}
	return base64.StdEncoding.EncodeToString([]byte(name))
}

func typeOf(m fs.FileMode) string {
	switch m.Type() {
	case 0:
		return "file"
	case fs.ModeDir:
		return "directory"
	case fs.ModeSymlink:
		return "symlink"
	case fs.ModeNamedPipe:
		return "fifo"
	case fs.ModeSocket:
		return "socket"
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		return "device"
	}
	return "other"
}

// octal writes a mode as chmod reads it.
func octal(m fs.FileMode) string {
	bits := uint32(m.Perm())
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return fmt.Sprintf("%04o", bits)
}
