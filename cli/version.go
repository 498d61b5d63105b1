package cli

import (
	"context"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

const versionHelp = `Shows the version of this program.

With --json the result is one line:

  {"v":1,"version":…,"revision":…,"modified":false,"go":…,"os":…,"arch":…}

revision is empty where the program was not built from a repository.`

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version",
		Long:  versionHelp,
		Args:  arguments(0, 0, "no arguments"),
		RunE:  a.run("", func(context.Context, []string) error { return a.version() }),
	}
	a.jsonOption(cmd)
	return cmd
}

type versionLine struct {
	V        int    `json:"v"`
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

func (a *app) version() error {
	l := versionLine{V: 1, Version: "(unknown)", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if info, ok := a.build(); ok {
		l.Version = own(info)
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				l.Revision = s.Value
			case "vcs.modified":
				l.Modified = s.Value == "true"
			}
		}
	}
	if a.json {
		return a.printJSON(l)
	}
	words := []string{"offsite", l.Version}
	if l.Revision != "" {
		words = append(words, l.Revision)
	}
	if l.Modified {
		words = append(words, "(modified)")
	}
	a.printf("%s\n", strings.Join(append(words, l.Go, l.OS+"/"+l.Arch), " "))
	return nil
}

// own is the version of this module, which another program may link.
func own(info *debug.BuildInfo) string {
	const module = "github.com/offsite-backup/offsite"
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return info.Main.Version
}
