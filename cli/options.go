package cli

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/offsite-backup/offsite/core"
)

const envPrefix = "OFFSITE_"

func envName(option string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(option, "-", "_"))
}

// optionsFromEnv sets each option that was not given from its variable. An option
// that may be given several times takes a line for each.
func (a *app) optionsFromEnv(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := envName(f.Name)
		value := a.env[name]
		if f.Changed || value == "" || f.Name == "help" || a.ofRun(name) {
			return
		}
		values := []string{value}
		if _, list := f.Value.(pflag.SliceValue); list {
			values = strings.Split(strings.Trim(value, "\n"), "\n")
		}
		for _, v := range values {
			if err := flags.Set(f.Name, v); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	})
	return errors.Join(errs...)
}

// ofRun says whether a variable tells a hook of the run that it is a part of, and is
// no option for who calls offsite there.
func (a *app) ofRun(name string) bool {
	return a.env["OFFSITE_PHASE"] != "" && (name == "OFFSITE_ID" || name == "OFFSITE_JOB")
}

// noPasswords refuses a command line with a URL that holds a password: process
// lists and shell histories show it. It comes first, so that no other error can
// repeat it.
func (a *app) noPasswords(args []string) error {
	for i, arg := range args {
		option, value, joined := strings.Cut(arg, "=")
		place := joined && isPlace(option) && opaque(value) || i > 0 && isPlace(args[i-1]) && opaque(arg)
		if place || holdsPassword(arg) {
			return errPassword("the command line")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.env)) {
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		place := (name == envName("to") || name == envName("from")) && opaque(a.env[name])
		if place || holdsPassword(a.env[name]) {
			return errPassword(name)
		}
	}
	return nil
}

func isPlace(option string) bool { return option == "--to" || option == "--from" }

func errPassword(where string) error {
	return usagef("%s has a URL with a password, which is not repeated here: leave it out of the URL, and give it the way that the provider has for it (a key file, an agent, the provider's variables)", where)
}

var (
	urlStart     = regexp.MustCompile(`[A-Za-z][0-9A-Za-z+.-]+://`)
	opaqueSecret = regexp.MustCompile(`(?m)^[A-Za-z][0-9A-Za-z+.-]+:[^/@\n]*:[^@\n]*@`)
)

// opaque says whether a place is a URL with a password that forgot its slashes:
// sftp:user:password@host. Elsewhere such a word is an ordinary one, such as
// "Re: 12:30 @ office".
func opaque(place string) bool { return opaqueSecret.MatchString(place) }

// holdsPassword says whether a word has a URL with a password in it, or what may
// be one: of a URL that cannot be parsed nobody knows what lies before the @.
func holdsPassword(word string) bool {
	for line := range strings.SplitSeq(word, "\n") {
		for _, at := range urlStart.FindAllStringIndex(line, -1) {
			u, err := url.Parse(line[at[0]:])
			if err != nil && strings.Contains(line[at[0]:], "@") {
				return true
			}
			if err == nil && hasPassword(u) {
				return true
			}
		}
	}
	return false
}

func hasPassword(u *url.URL) bool {
	_, has := u.User.Password()
	return has
}

func (a *app) jsonOption(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.json, "json", false, "the result as JSON lines, see above")
}

func toOption(cmd *cobra.Command, to *[]string) {
	cmd.Flags().StringArrayVar(to, "to", nil, "`place` to store at; may be given several times")
}

func fromOption(cmd *cobra.Command, from *[]string) {
	cmd.Flags().StringArrayVar(from, "from", nil, "`place` to read; may be given several times\n(default all agents of the configuration)")
}

// parseID reads an id that a person wrote.
func parseID(s string) (core.ID, error) {
	if s == latest {
		return "", usagef(`"latest" is no id: write the id that "offsite list" shows`)
	}
	id, err := core.ParseID(s)
	if err != nil {
		return "", usageError{err: err}
	}
	return id, nil
}

// latest stands for an id where a backup is restored.
const latest = "latest"

// parseTags reads words of the form key=value.
func parseTags(words []string) (core.Tags, error) {
	if len(words) == 0 {
		return nil, nil
	}
	tags := core.Tags{}
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		if !ok || key == "" {
			return nil, usagef("tag %q is not of the form key=value", w)
		}
		if _, twice := tags[key]; twice {
			return nil, usagef("tag %q is given twice", key)
		}
		tags[key] = value
	}
	return tags, nil
}

// insideName is a name in an archive as a person may write it: with the slash
// that it had in the file system, or the one that a shell adds to a directory.
func insideName(s string) string { return strings.Trim(filepath.ToSlash(s), "/") }

func insideNames(all []string) (names []string) {
	for _, s := range all {
		names = append(names, insideName(s))
	}
	return names
}
