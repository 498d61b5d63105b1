package cli

import (
	"context"
	"path"
	"reflect"

	"github.com/spf13/cobra"

	"github.com/offsite-backup/offsite/cli/scaffold"
	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core/option"
)

func (a *app) scaffoldCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "scaffold", Short: "Begin a new agent or hook in the source of offsite", SuggestionsMinimumDistance: 2}
	cmd.AddCommand(
		a.scaffoldPart(scaffold.Agent, `Writes the folder agents/NAME, with the files that every agent has, and
cmd/offsite/agent_NAME.go, which links it. To build and to run the suite no other file
has to be touched, but for go.mod once it imports its provider's library. What is
written builds and is formatted; its methods answer that they are not written yet, and
so do the cases of the conformance suite, which runs at once:

  go test ./agents/NAME

CONTRIBUTING.md goes on from there, and says what else is needed before it is merged.
Run it in the root of the source of offsite.`),
		a.scaffoldPart(scaffold.Hook, `Writes the folder hooks/NAME, with a kind of hook and its test, and
cmd/offsite/hook_NAME.go, which links it. To build and to test it no other file has to
be touched, but for go.mod once it imports a library. What is written builds and is
formatted; its actions answer that they are not written yet, and so does its test:

  go test ./hooks/NAME

CONTRIBUTING.md goes on from there. Run it in the root of the source of offsite.`),
	)
	return cmd
}

const scaffoldCodes = `

Exit codes: 0 written; 1 failed, or something of that name is there already, or this is
not the source of offsite; 2 the command line is wrong.`

func (a *app) scaffoldPart(part scaffold.Part, help string) *cobra.Command {
	return &cobra.Command{
		Use:   string(part) + " NAME",
		Short: "Begin a new " + string(part),
		Long:  help + scaffoldCodes,
		Args:  arguments(1, 1, "NAME, of the new package"),
		RunE:  a.run("", func(_ context.Context, args []string) error { return a.scaffold(part, args[0]) }),
	}
}

func (a *app) scaffold(part scaffold.Part, name string) error {
	files, err := scaffold.Write(".", part, name, a.words(part))
	if err != nil {
		return err
	}
	for _, file := range files {
		a.printf("wrote %s\n", file)
	}
	a.printf("next: go test ./%s\n", path.Join(string(part)+"s", name))
	return nil
}

// words are what a configuration has beside the kinds of a part, and the URLs of
// other agents.
func (a *app) words(part scaffold.Part) (all []string) {
	beside := reflect.TypeFor[config.AgentOptions]()
	if part == scaffold.Hook {
		beside = reflect.TypeFor[config.HookOptions]()
	}
	for _, o := range option.Of(beside) {
		all = append(all, o.Name)
	}
	for _, k := range a.kinds.Agents {
		all = append(all, k.Schemes...)
	}
	return all
}
