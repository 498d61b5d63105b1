//go:build linux || darwin

package command_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/hooks/command"
)

var pre = core.Moment{ID: "id", Job: "web", Phase: core.Pre, Dir: "/hooks/h"}

// sh runs a script.
func sh(script string, args ...string) []string {
	return append([]string{"sh", "-c", script, "sh"}, args...)
}

func TestFailures(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	script := func(s string) command.Options { return command.Options{Pre: sh(s)} }
	run := func(argv ...string) command.Options { return command.Options{Pre: argv} }
	secret := map[string]any{"P": core.NewSecret("hunter2")}
	tests := map[string]struct {
		options command.Options
		want    string // a regular expression; DIR stands for dir
		is      error
	}{
		"well":                  {script("echo fine; echo fine >&2"), "", nil},
		"exit status":           {script("exit 3"), `sh: exit status 3`, nil},
		"exit status of shells": {script("exit 127"), `sh: exit status 127`, nil},
		"says why":              {script("echo one; echo two >&2; echo three; exit 1"), "sh: exit status 1; it printed:\n    one\n    two\n    three", nil},
		"says nothing":          {script("echo; exit 1"), `sh: exit status 1`, nil},
		"signal":                {script("kill -SEGV $$"), `sh: ended by signal 11, SIGSEGV`, nil},
		"killed":                {script("echo before; kill -9 $$"), "sh: ended by signal 9, SIGKILL; it printed:\n    before", nil},
		"ends its group":        {script("trap '' TERM; kill -TERM 0; kill -KILL 0"), `sh: ended by signal 9, SIGKILL`, nil},
		"secret":                {command.Options{Pre: sh(`echo "password=$P"; exit 1`), Env: secret}, "sh: exit status 1; it printed:\n    password=\\[secret\\]", nil},
		"secret in two writes":  {command.Options{Pre: sh(`printf %s "${P%r2}"; echo r2 >&2; exit 1`), Env: secret}, "sh: exit status 1; it printed:\n    \\[secret\\]", nil},
		"secret in two lines":   {command.Options{Pre: sh(`echo "${P%r2}"; echo r2; exit 1`), Env: secret}, "sh: exit status 1; it printed:\n    \\[secret\\]", nil},
		"secret in an argument": {command.Options{Pre: sh(`exec sh -c 'echo $1; exit 1' sh "$P"`), Env: secret}, "sh: exit status 1; it printed:\n    \\[secret\\]", nil},
		"drives a terminal":     {script(`printf '\033[2J'; exit 1`), "sh: exit status 1; it printed:\n    \\\\x1b\\[2J", nil},
		"prints much":           {script(`echo first; yes | head -c 3000000; echo last; exit 1`), "(?s)sh: exit status 1; it printed:\n    first\n    y\n.*\n    \\[\\d+ bytes are left out here\\]\n.*y\n    last", nil},

		"missing":           {run("/no/such/program"), `/no/such/program: no such program: file does not exist`, fs.ErrNotExist},
		"missing in PATH":   {command.Options{Pre: []string{"no-such-program"}, Env: map[string]any{"PATH": dir}}, `no-such-program: no such program in PATH, which is "DIR": write its path in full, or set PATH in env: file does not exist`, fs.ErrNotExist},
		"not in folder .":   {command.Options{Pre: []string{"script"}, Dir: dir, Env: map[string]any{"PATH": ":."}}, `script: no such program in PATH, which is ":\.": .*`, fs.ErrNotExist},
		"a folder":          {run(dir), `DIR: DIR is a folder: permission denied`, fs.ErrPermission},
		"not executable":    {run(file("plain", "#!/bin/sh\n", 0o600)), "DIR/plain: DIR/plain is not executable: `chmod \\+x` it: permission denied", fs.ErrPermission},
		"not so in PATH":    {command.Options{Pre: []string{"plain"}, Env: map[string]any{"PATH": "/usr/bin:" + dir}}, "plain: DIR/plain is not executable: `chmod \\+x` it: permission denied", fs.ErrPermission},
		"bad interpreter":   {run(file("interpreter", "#!/no/such/sh\n", 0o700)), `DIR/interpreter: DIR/interpreter is there, and what must run it is not: look for the program that its first line names: no such file or directory`, fs.ErrNotExist},
		"no interpreter":    {run(file("script", "echo ran >&2\n", 0o700)), `DIR/script: DIR/script is no program for this machine; a script begins with a line such as #!/bin/sh: exec format error`, syscall.ENOEXEC},
		"too long":          {run("/bin/true", strings.Repeat("x", 4<<20)), `/bin/true: its arguments and variables are too long for the system: argument list too long`, syscall.E2BIG},
		"no such directory": {command.Options{Pre: []string{"true"}, Dir: dir + "/none"}, `true: dir DIR/none, where it is to stand: no such file or directory`, fs.ErrNotExist},
		"no directory":      {command.Options{Pre: []string{"true"}, Dir: dir + "/plain"}, `true: dir DIR/plain, where it is to stand: not a directory`, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := hook(t, test.options).Pre(t.Context(), pre)
			want := strings.ReplaceAll(test.want, "DIR", regexp.QuoteMeta(dir))
			switch {
			case want == "" && err != nil:
				t.Error(err)
			case want != "" && (err == nil || !regexp.MustCompile(`^`+want+`$`).MatchString(err.Error())):
				t.Errorf("got\n%.5000v, want\n%v", err, want)
			case test.is != nil && !errors.Is(err, test.is):
				t.Errorf("%v is not %v", err, test.is)
			}
		})
	}
}

// The errors of a run say each once which hook and action it was.
func TestInAPipeline(t *testing.T) {
	p := core.Pipeline{Hooks: []core.Hook{hook(t, command.Options{Pre: sh("echo locked; exit 2"), Post: sh(`echo "$OFFSITE_ERROR"; exit 4`)})}}
	err := p.Run(t.Context(), core.Moment{}, nil)
	const want = "hook h: pre: sh: exit status 2; it printed:\n    locked\n" +
		"hook h: post: sh: exit status 4; it printed:\n    hook h: pre: sh: exit status 2; it printed:\n        locked"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v, want\n%s", err, want)
	}
}

// Each script opens the witness, says ready, and never ends by itself. See also
// hangsOnLinux.
var hangs = map[string]string{
	"sleeps":             `exec 9>"$1"; echo ready >&9; exec sleep 1000`,
	"ignores SIGTERM":    `trap "" TERM INT HUP; exec 9>"$1"; echo ready >&9; while :; do sleep 1000; done`,
	"children":           `exec 9>"$1"; sleep 1000 & (sleep 1000 & echo ready >&9; sleep 1000); sleep 1000`,
	"children that hide": `exec 9>"$1"; (trap "" TERM; sleep 1000) </dev/null >/dev/null 2>&1 & echo ready >&9; sleep 1000`,
	"stopped":            `exec 9>"$1"; echo ready >&9; kill -STOP $$`,
	"prints for ever":    `exec 9>"$1"; echo ready >&9; exec yes`,
	"reads what is told": `exec 9>"$1"; read -r x; read -r x; echo ready >&9; exec cat /dev/zero`,
}

func TestEndOfItsTime(t *testing.T) { testEndOfItsTime(t, hangs) }

func testEndOfItsTime(t *testing.T, hangs map[string]string) {
	for name, script := range hangs {
		t.Run(name, func(t *testing.T) {
			w := newWitness(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			h, ended, why := hook(t, command.Options{Post: sh("echo printed; "+script, w.path)}), make(chan error), errors.New("word")
			go func() { ended <- h.Post(ctx, core.Moment{Err: errors.New(strings.Repeat("x", 1<<20))}) }()
			w.hear("ready")
			cancel(why)
			if err := <-ended; !errors.Is(err, why) || !strings.HasPrefix(err.Error(), "sh: word; it printed:\n    printed") {
				t.Errorf("%.100v", err)
			}
			w.gone()
		})
	}
}

func TestOverBeforeItBegan(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "x")
	if err := hook(t, command.Options{Pre: []string{"touch", path}}).Pre(ctx, pre); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it ran")
	}
}

// A pre that leaves something behind has ended, and so has that, which is said.
func TestLeftBehind(t *testing.T) {
	for name, script := range map[string]string{
		"child":              `exec 9>"$1"; sleep 1000 & exit 0`,
		"that holds nothing": `exec 9>"$1"; sleep 1000 </dev/null >/dev/null 2>&1 & exit 0`,
		"that will not end":  `exec 9>"$1"; (trap "" TERM; echo set >&9; sleep 1000; sleep 1000) >/dev/null & read -r x <"$2"`,
		"grandchildren":      `exec 9>"$1"; ((sleep 1000 & sleep 1000) & sleep 1000) & exit 0`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWitness(t)
			path, give := newSignal(t)
			if strings.Contains(script, "$2") {
				go func() { w.hear("set"); give() }()
			}
			var said strings.Builder
			h := hookWith(t, command.Options{Pre: sh(script, w.path, path)}, slog.New(slog.NewTextHandler(&said, nil)))
			if err := h.Pre(t.Context(), pre); err != nil {
				t.Error(err)
			}
			w.gone()
			if want := regexp.MustCompile(`level=WARN msg="a hook left processes running, which were ended" hook=h phase=pre processes=".*(sh|sleep) \(\d+\).*"`); !want.MatchString(said.String()) {
				t.Errorf("said %q", &said)
			}
		})
	}
}

// What a post leaves running when it has ended is the application: it goes on, and
// is not waited for, whatever it does with its output.
func TestPostLeavesTheApplication(t *testing.T) {
	for name, start := range map[string]string{
		"redirected":             `app "$@" </dev/null >/dev/null 2>&1 &`,
		"nohup":                  `nohup sh -c "$app" sh "$@" >/dev/null 2>&1 &`,
		"prints":                 `app "$@" &`,
		"prints, and post fails": `app "$@" & status=7`,
		"holds its input":        `exec 8<&0; app "$@" <&8 &`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWitness(t)
			path, give := newSignal(t)
			// More than a pipe holds is printed after the post has ended.
			const script = `exec 9>"$1"; echo up >&9; read -r x <"$2"; i=0; while test $i -lt 2000; do
echo 0123456789012345678901234567890123456789012345678901234567890123456789 || exit; i=$((i+1)); done; echo alive >&9; read -r x <"$2"`
			h := hook(t, command.Options{Post: sh("app='"+script+"'; app() { sh -c \"$app\" sh \"$@\"; }\necho started\n"+start+"\nexit ${status:-0}", w.path, path)})
			m := core.Moment{Phase: core.Post, Err: errors.New(strings.Repeat("x", 1<<20))}
			err := h.Post(t.Context(), m)
			if strings.Contains(start, "status") {
				if err == nil || !strings.HasPrefix(err.Error(), "sh: exit status 7; it printed:\n    started") {
					t.Error(err)
				}
			} else if err != nil {
				t.Error(err)
			}
			w.hear("up")
			give()
			w.hear("alive")
			give()
			w.gone()
		})
	}
}

func TestInput(t *testing.T) {
	long := core.Moment{Phase: core.Post, Err: errors.New(strings.Repeat("x", 3<<20))}
	for name, script := range map[string]string{
		"closes it":     `exec <&-; exit 0`,
		"reads nothing": `exit 0`,
		"reads a line":  `head -c 100 >/dev/null`,
		"reads all":     `test "$(wc -c)" -gt 3000000`,
		"ends":          `test "$(wc -l)" -eq 1`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := hook(t, command.Options{Post: sh(script)}).Post(t.Context(), long); err != nil {
				t.Errorf("%.200v", err)
			}
		})
	}
}

// A post runs also where its group cannot be noted, as on a full disk, and that is said.
func TestPostRunsUnnoted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	var said strings.Builder
	h := hookWith(t, command.Options{Post: []string{"touch", path}}, slog.New(slog.NewTextHandler(&said, nil)))
	m := core.Moment{Phase: core.Post, Runs: func(core.Process) error { return syscall.ENOSPC }}
	if err := h.Post(t.Context(), m); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	if !strings.Contains(said.String(), `msg="the process group of a hook could not be noted" hook=h phase=post error="no space left on device"`) {
		t.Errorf("said %q", &said)
	}
}

// Nothing runs before the group is noted, or when it cannot be.
func TestNotedFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	h := hook(t, command.Options{Pre: sh(`echo "$OFFSITE_GROUP" >"$1"; ps -o pgid= -p $$ >>"$1"`, path)})
	var noted core.Process
	m := pre
	m.Runs = func(p core.Process) error {
		noted = p
		if _, err := os.Stat(path); err == nil {
			t.Error("it runs before it is noted")
		}
		if err := syscall.Kill(-p.Group, 0); err != nil {
			t.Errorf("group %d: %v", p.Group, err)
		}
		return fs.ErrInvalid
	}
	if err := h.Pre(t.Context(), m); !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it ran and was not noted")
	}
	if err := syscall.Kill(-noted.Group, 0); err != syscall.ESRCH {
		t.Errorf("group %d: %v", noted.Group, err)
	}
	m.Runs = func(p core.Process) error { noted = p; return nil }
	if err := h.Pre(t.Context(), m); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(path)
	if fields := strings.Fields(string(data)); err != nil || len(fields) != 2 || !strings.HasPrefix(fields[0], fields[1]+"/") || noted.Began == "" {
		t.Errorf("%q, %v, noted %+v", data, err, noted)
	}
}
