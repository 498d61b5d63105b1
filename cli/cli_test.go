package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"pgregory.net/rapid"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

func TestExitCode(t *testing.T) {
	agent := func(kind core.ErrorKind) error { return &core.Error{Kind: kind, Agent: "a", Op: "list"} }
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("disk on fire"), 1},
		{fs.ErrNotExist, 1},
		{agent(core.ErrNoPlace), 1},
		{agent(core.ErrDenied), 1},
		{agent(core.ErrUnauthenticated), 1},
		{agent(core.ErrUnavailable), 1},
		{agent(core.ErrExists), 1},
		{agent(core.ErrLocked), 1},
		{agent(core.ErrUnsupported), 1},
		{agent(core.ErrInvalid), 2},
		{usagef("what?"), 2},
		{fmt.Errorf("more: %w", usagef("what?")), 2},
		{usageError{err: core.ErrNotFound}, 2},
		{result{exitDegraded, agent(core.ErrUnavailable)}, 3},
		{result{exitDegraded, agent(core.ErrDamaged)}, 3},
		{agent(core.ErrNotFound), 4},
		{errors.Join(agent(core.ErrNotFound), agent(core.ErrNotFound)), 4},
		{result{exitFailed, agent(core.ErrNotFound)}, 1},
		{agent(core.ErrDamaged), 5},
		{errors.Join(agent(core.ErrUnavailable), agent(core.ErrDamaged)), 5},
		{fmt.Errorf("job web1: %w", platform.ErrBusy), 6},
		{told(3), 3},
		{interruption{}, 130},
		{result{exitFailed, errors.Join(agent(core.ErrDamaged), errInterrupted)}, 130},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: %d, not %d", c.err, got, c.want)
		}
	}
}

func TestHoldsPassword(t *testing.T) {
	for word, want := range map[string]bool{
		"sftp://u:p@h/d":                 true,
		"--to=sftp://u:p@h/d":            true,
		"./a\nsftp://u:p@h/d":            true,
		"sftp://u:p/w@h/d":               true, // not to be parsed
		"sftp://u:p%zz@h/d":              true,
		"db=postgres://u:p@h/d":          true,
		"s3://:p@bucket":                 true,
		"sftp://u@h/d":                   false,
		"sftp://u@h:22/d@e":              false,
		"sftp://h:22/a:b@c":              false,
		"s3://b/p?endpoint=http://h:9/x": false,
		"s3://b/p":                       false,
		"local:/a:b/c@d":                 false,
		"C:\\a@b":                        false,
		"./a:b@c":                        false,
		"/home/u/a@b:c":                  false,
		"user@example.org":               false,
		"Re: 12:30 @ office":             false,
		"":                               false,
	} {
		if got := holdsPassword(word); got != want {
			t.Errorf("%q: %v", word, got)
		}
	}
}

func TestNoPasswordsKnowsWhatIsAPlace(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  map[string]string
		want bool
	}{
		{[]string{"backup", "src", "--to", "sftp:u:p@h"}, nil, true},
		{[]string{"backup", "src", "--to=sftp:u:p@h"}, nil, true},
		{[]string{"list", "--from", "./a", "--from", "sftp:u:p@h"}, nil, true},
		{[]string{"list", "--from=sftp:u:p@h"}, nil, true},
		{nil, map[string]string{"OFFSITE_TO": "./a\nsftp:u:p@h"}, true},
		{nil, map[string]string{"OFFSITE_FROM": "sftp:u:p@h"}, true},
		{nil, map[string]string{"OFFSITE_NAME": "sftp://u:p@h"}, true},
		{[]string{"backup", "src", "--to", "./c", "--name", "Re: 12:30 @ office"}, nil, false},
		{[]string{"backup", "src", "--to", "./c", "--name=Re: 12:30 @ office"}, nil, false},
		{[]string{"backup", "notes:12:30@office", "--to", "./c"}, nil, false},
		{[]string{"backup", "src", "--to", "./c", "--tag", "at:12:30=b@c"}, nil, false},
		{[]string{"backup", "src", "--to", "./a:b@c"}, nil, false},
		{nil, map[string]string{"OFFSITE_NAME": "Re: 12:30 @ office", "OFFSITE_TO": "./a\n./b:c@d"}, false},
		{nil, map[string]string{"TO": "sftp://u:p@h"}, false},
	} {
		a := &app{env: c.env}
		if err := a.noPasswords(c.args); (err != nil) != c.want {
			t.Errorf("%q %q: %v", c.args, c.env, err)
		}
	}
}

func TestVisibleKeepsTheTerminalSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s")) + rapid.String().Draw(t, "more")
		for _, got := range []string{visible(s), quoted(s)} {
			if strings.ContainsAny(got, "\x00\n\r\x1b\x7f\u0085\u202e\ufffe") || strings.ToValidUTF8(got, "") != got {
				t.Fatalf("%q is written as %q", s, got)
			}
		}
	})
}

func TestQuoted(t *testing.T) {
	for name, want := range map[string]string{
		"a b/c.txt":   "a b/c.txt",
		"größe":       "größe",
		"":            `""`,
		" a":          `" a"`,
		`a"b`:         `"a\"b"`,
		`a\nb`:        `"a\\nb"`,
		"a\nb":        `"a\nb"`,
		"a\x1b[2Jb":   `"a\x1b[2Jb"`,
		"a\xffb":      `"a\xffb"`,
		"a\u202eb":    `"a\u202eb"`,
		"a\u0085b":    `"a\u0085b"`,
		"a\U000e0001": `"a\U000e0001"`,
	} {
		if got := quoted(name); got != want {
			t.Errorf("%q: %s, not %s", name, got, want)
		}
	}
}

func TestShellWordReadsBack(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"./copies", "a b", "it's", "$HOME", "`id`", "a;b", "*", "s3://b/p?region=x&y=z", "", "\\"} {
		got, err := exec.Command(sh, "-c", "printf %s "+shellWord(word)).Output()
		if err != nil || string(got) != word {
			t.Errorf("%q: %q, %v", word, got, err)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 1<<20 - 1: "1.0 MiB", 1536: "1.5 KiB", 1<<63 - 1: "8.0 EiB",
	} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, not %s", n, got, want)
		}
	}
}

func TestTook(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1234567 * time.Microsecond: "1.23s", 12345 * time.Millisecond: "12.3s", 61499 * time.Millisecond: "1m1s",
	} {
		if got := took(d); got != want {
			t.Errorf("%v: %s, not %s", d, got, want)
		}
	}
}

func TestOctal(t *testing.T) {
	for m, want := range map[fs.FileMode]string{
		0o644: "0644", fs.ModeDir | fs.ModeSticky | 0o777: "1777", fs.ModeSetuid | 0o755: "4755", fs.ModeSetgid | fs.ModeSetuid: "6000",
	} {
		if got := octal(m); got != want {
			t.Errorf("%v: %s, not %s", m, got, want)
		}
	}
}

// newApp is an app of which nothing reaches the system.
func newApp(env map[string]string) (a *app, out, errs *bytes.Buffer) {
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	return &app{
		in: strings.NewReader(""), out: bufio.NewWriter(out), console: &console{w: errs}, env: env, now: time.Now,
		uid:   1000,
		home:  func() (string, error) { return "/home/u", nil },
		host:  func() (string, error) { return "host", nil },
		build: func() (*debug.BuildInfo, bool) { return nil, false },
		quit:  func(int) {},
	}, out, errs
}

func TestStateDir(t *testing.T) {
	nowhere := func() (string, error) { return "", errors.New("no home") }
	for _, c := range []struct {
		name string
		set  func(*app)
		want string
	}{
		{"user", func(*app) {}, "/home/u/.local/state/offsite"},
		{"root", func(a *app) { a.uid = 0 }, "/var/lib/offsite"},
		{"xdg", func(a *app) { a.env = map[string]string{"XDG_STATE_HOME": "/x"} }, "/x/offsite"},
		{"xdg for root", func(a *app) { a.uid, a.env = 0, map[string]string{"XDG_STATE_HOME": "/x"} }, "/x/offsite"},
		{"relative xdg", func(a *app) { a.env = map[string]string{"XDG_STATE_HOME": "x"} }, "/home/u/.local/state/offsite"},
		{"option", func(a *app) { a.uid, a.state = 0, "./s" }, "./s"},
		{"nothing", func(a *app) { a.home = nowhere }, ""},
		{"root without a home", func(a *app) { a.uid, a.home = 0, nowhere }, "/var/lib/offsite"},
	} {
		a, _, _ := newApp(nil)
		c.set(a)
		if got := filepath.ToSlash(a.stateDir()); got != c.want {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	got := environment([]string{"A=b=c", "=C:=C:\\x", "EMPTY=", "odd", ""})
	want := map[string]string{"A": "b=c", "=C:": "C:\\x", "EMPTY": ""}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q", got)
	}
}

// Every option of every command takes its value from its variable, and no two
// options share one.
func TestEveryOptionHasAVariable(t *testing.T) {
	names := map[string]bool{}
	each(t, func(_ *cobra.Command, f *pflag.Flag) { names[f.Name] = true })
	variables := map[string]bool{}
	for name := range names {
		variables[envName(name)] = true
	}
	if len(variables) != len(names) || !variables["OFFSITE_ALLOW_EMPTY"] {
		t.Errorf("%d options have %d variables: %v", len(names), len(variables), variables)
	}
	values := map[string][2]string{"bool": {"true", "true"}, "int": {"7", "7"}, "string": {"a,b c", "a,b c"}, "stringArray": {"a,b\nc d\n", `["a,b",c d]`}}
	each(t, func(cmd *cobra.Command, f *pflag.Flag) {
		value, ok := values[f.Value.Type()]
		if !ok {
			t.Fatalf("--%s is of type %s", f.Name, f.Value.Type())
		}
		a, _, _ := newApp(map[string]string{envName(f.Name): value[0]})
		if err := a.optionsFromEnv(cmd.Flags()); err != nil {
			t.Errorf("%s --%s: %v", cmd.Name(), f.Name, err)
		}
		if got := f.Value.String(); got != value[1] {
			t.Errorf("%s --%s is %s, not %s", cmd.Name(), f.Name, got, value[1])
		}
	})
}

// each calls f for each option of each command of ours.
func each(t *testing.T, f func(*cobra.Command, *pflag.Flag)) {
	t.Helper()
	a, _, _ := newApp(nil)
	all := a.rootCommand().Commands()
	for i := 0; i < len(all); i++ {
		cmd := all[i]
		if cmd.Name() == "completion" {
			continue
		}
		all = append(all, cmd.Commands()...)
		if cmd.Short == "" || !strings.Contains(cmd.Long, "\n") && cmd.HasFlags() && cmd.Flags().Lookup("json") != nil {
			t.Errorf("%s has no help", cmd.Name())
		}
		cmd.InheritedFlags() // merges them
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			if flag.Usage == "" {
				t.Errorf("%s --%s has no help", cmd.Name(), flag.Name)
			}
			f(cmd, flag)
		})
	}
}

func TestAdvice(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&core.Error{Kind: core.ErrDamaged}, "another place"},
		{&core.Error{Kind: core.ErrNoPlace}, "mounted"},
		{fmt.Errorf("spool: %w", syscall.ENOSPC), "--spool"},
		{&fs.PathError{Op: "open", Path: "x", Err: fs.ErrPermission}, "rights"},
		{usageError{errors.New("x"), "offsite list"}, "offsite list --help"},
		{errors.New("x"), ""},
	} {
		if got := advice(c.err); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%v: %q", c.err, got)
		}
	}
}

func TestComplainWritesLinesThatAreSafe(t *testing.T) {
	a, _, errs := newApp(nil)
	a.complain(errors.Join(errors.New("one\x1b[2J"), errors.New("two\rthree")))
	if got := errs.String(); got != "offsite: one\\x1b[2J\noffsite: two\\rthree\n" {
		t.Errorf("%q", got)
	}
}

func TestComplainSaysWhatWasNotTold(t *testing.T) {
	a, _, errs := newApp(nil)
	a.complain(told(exitDegraded))
	if got := errs.String(); got != "" {
		t.Errorf("%q", got)
	}
	a.complain(errors.Join(told(exitDegraded), errors.New("disk full")))
	if got := errs.String(); got != "offsite: disk full\n" {
		t.Errorf("%q", got)
	}
}

func TestWorst(t *testing.T) {
	for _, c := range []struct{ a, b, want int }{
		{exitOK, exitDegraded, exitDegraded}, {exitBusy, exitDegraded, exitBusy}, {exitBusy, exitFailed, exitFailed},
		{exitUsage, exitFailed, exitFailed}, {exitUsage, exitBusy, exitUsage}, {exitInterrupted, exitFailed, exitInterrupted},
	} {
		if got := worst(c.a, c.b); got != c.want || worst(c.b, c.a) != c.want {
			t.Errorf("of %d and %d %d is worse", c.a, c.b, got)
		}
	}
}

func TestAnswerEndsWithTheContext(t *testing.T) {
	a, _, _ := newApp(nil)
	silent, end := io.Pipe()
	defer end.Close()
	a.in = silent
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	if _, err := a.answer(ctx); !errors.Is(err, errInterrupted) {
		t.Errorf("%v", err)
	}
}
