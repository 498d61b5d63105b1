//go:build linux || darwin

package command_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/agents/local"
	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/hooks/command"
)

var _ config.HookKind = command.Kind{}

// The example of a configuration is one that this kind understands.
func TestExample(t *testing.T) {
	agents := core.Kinds{local.Kind(), {Name: "s3", Config: func() core.Config { return new(bucket) }}}
	bin := t.TempDir()
	for _, program := range []string{"pg_dump", "systemctl"} {
		if err := os.WriteFile(filepath.Join(bin, program), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f, err := config.Kinds{Agents: agents, Hooks: []config.HookKind{command.Kind{Env: []string{"PATH=" + bin}}}}.Parse("example.yaml", config.Example())
	if err != nil {
		t.Fatal(err)
	}
	hooks, err := config.Secrets{}.Hooks(t.Context(), f.Jobs[0].Hooks)
	if err != nil || len(hooks) < 2 || hooks[0].Pre == nil || hooks[0].Post != nil || hooks[1].Post == nil || hooks[1].Debt == nil {
		t.Errorf("%+v, %v", hooks, err)
	}
}

// bucket has the options of a bucket that stand in the example.
type bucket struct {
	core.Config            `config:"-"`
	Bucket, Prefix, Region string
}

func TestInvalid(t *testing.T) {
	secret := core.NewSecret("hunter2")
	tests := map[string]struct {
		options command.Options
		want    string // "" is none
	}{
		"pre":               {command.Options{Pre: []string{"a"}}, ""},
		"all":               {command.Options{Pre: []string{"a", ""}, Post: []string{"/b c"}, After: []string{"a", "{{dir}}"}, Env: map[string]any{"A_1": "", "b": secret}, Dir: "/x"}, ""},
		"nothing":           {command.Options{Dir: "/"}, "h runs nothing: give pre, post or after"},
		"empty program":     {command.Options{Pre: []string{""}}, "pre: the name of the program is empty"},
		"relative program":  {command.Options{Post: []string{"./a b"}}, `post: the program "./a b" is a path that is not written in full`},
		"directory to run":  {command.Options{Pre: []string{"{dir}/a"}}, `pre: the program "{dir}/a" is a path that is not written in full`},
		"zero byte":         {command.Options{After: []string{"a", "b\x00c"}}, "after: an argument holds a zero byte"},
		"after's directory": {command.Options{After: []string{"a", "-f={dir}/b"}}, "after: there is no {dir} any more when this runs"},
		"relative dir":      {command.Options{Pre: []string{"a"}, Dir: "x"}, `dir: "x" is not written in full`},
		"name of variable":  {command.Options{Pre: []string{"a"}, Env: map[string]any{"a=b": ""}}, `env: "a=b" is not the name of a variable, which has letters, digits and _`},
		"our variable":      {command.Options{Pre: []string{"a"}, Env: map[string]any{"OFFSITE_ID": ""}}, "env: OFFSITE_ID is set for every program, and has another meaning"},
		"type of variable":  {command.Options{Pre: []string{"a"}, Env: map[string]any{"A": 1}}, "env: A is neither text nor a secret"},
		"empty secret":      {command.Options{Pre: []string{"a"}, Env: map[string]any{"A": core.Secret{}}}, "env: A is a secret that is empty"},
		"zero in secret":    {command.Options{Pre: []string{"a"}, Env: map[string]any{"A": core.NewSecret("hunter2\x00")}}, "env: A holds a zero byte"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h, err := command.Kind{}.Hook("h", &test.options, nil)
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want == "":
				if (h.Pre != nil) != (test.options.Pre != nil) || (h.Post != nil) != (test.options.Post != nil) || (h.After != nil) != (test.options.After != nil) {
					t.Errorf("%+v", h)
				}
			case !errors.Is(err, core.ErrInvalid) || !strings.HasSuffix(err.Error(), ": "+test.want):
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
	if _, err := (command.Kind{}).Hook("h", 1, nil); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

// A program that is not there is found before a run, and is no reason not to make the
// hook again whose post is owed.
func TestReady(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "plain"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kind := command.Kind{Env: []string{"PATH=" + os.Getenv("PATH")}}
	tests := map[string]struct {
		options command.Options
		phase   core.Phase
		want    string // "" is none
	}{
		"there":          {command.Options{Pre: []string{"sh"}, Post: []string{"/no/such"}}, core.Pre, ""},
		"there, in full": {command.Options{Pre: []string{"/no/such"}, Post: []string{"/bin/sh", "-c", "/no/such"}}, core.Post, ""},
		"nothing":        {command.Options{Post: []string{"/no/such"}}, core.After, ""},
		"pre":            {command.Options{Pre: []string{"/no/such"}, Post: []string{"true"}}, core.Pre, "/no/such: no such program: file does not exist"},
		"post":           {command.Options{Pre: []string{"true"}, Post: []string{"/no/such", "start"}}, core.Post, "/no/such: no such program: file does not exist"},
		"after":          {command.Options{After: []string{"no-such"}, Env: map[string]any{"PATH": dir}}, core.After, `no-such: no such program in PATH, which is "` + dir + `": write its path in full, or set PATH in env: file does not exist`},
		"not executable": {command.Options{Post: []string{dir + "/plain"}}, core.Post, dir + "/plain: " + dir + "/plain is not executable: `chmod +x` it: permission denied"},
		"not from dir":   {command.Options{Post: []string{"plain"}, Dir: dir, Env: map[string]any{"PATH": "."}}, core.Post, `plain: no such program in PATH, which is ".": write its path in full, or set PATH in env: file does not exist`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h, err := kind.Hook("h", &test.options, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = h.Ready(test.phase)
			if test.want == "" && err != nil || test.want != "" && (err == nil || err.Error() != test.want || errors.Is(err, core.ErrInvalid)) {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

// seen is what a program finds when it starts: see TestMain.
type seen struct {
	Args  []string
	Env   map[string]string
	Dir   string
	Input map[string]any
}

func (s *seen) write(path string) error {
	*s = seen{Args: os.Args[2:], Env: map[string]string{}}
	for _, v := range os.Environ() {
		name, value, _ := strings.Cut(v, "=")
		s.Env[name] = value
	}
	s.Dir, _ = os.Getwd()
	if err := json.NewDecoder(os.Stdin).Decode(&s.Input); err != nil {
		return err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// see runs a hook whose program is this one, and returns what it found.
func see(t *testing.T, o command.Options, args []string, m core.Moment, act func(core.Hook, core.Moment) error) (s seen) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "seen")
	argv := append([]string{self(t), path}, args...)
	switch m.Phase {
	case core.Pre:
		o.Pre = argv
	case core.Post:
		o.Post = argv
	case core.After:
		o.After = argv
	}
	env := map[string]any{childVar: "show"}
	maps.Copy(env, o.Env)
	o.Env = env
	err := act(hook(t, o), m)
	data, readErr := os.ReadFile(path)
	if err != nil || readErr != nil {
		t.Fatal(err, readErr)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestArguments(t *testing.T) {
	args := []string{"", "a b", `"it's"`, "$HOME ${PATH} $(id) `id`", "*", "~", "a\nb\t", `\`, "--", "-n", "{dir}", "--file={dir}/x{dir}", "{{dir}}", "{{{dir}}}", "{ dir }", "{DIR}", "%s\xff"}
	dir := "/var/spool/{{dir}}/$x y"
	want := slices.Clone(args)
	want[10], want[11], want[12], want[13] = dir, "--file="+dir+"/x"+dir, "{dir}", "{{dir}}"
	want[16] = "%s\ufffd" // by JSON
	got := see(t, command.Options{}, args, core.Moment{Phase: core.Pre, Dir: dir}, func(h core.Hook, m core.Moment) error {
		return h.Pre(t.Context(), m)
	})
	if !slices.Equal(got.Args, want) {
		t.Errorf("got\n%q, want\n%q", got.Args, want)
	}
	if got.Dir != "/" {
		t.Errorf("it stands in %s", got.Dir)
	}
}

func TestToldBefore(t *testing.T) {
	m := core.Moment{ID: "id", Job: "web", Phase: core.Pre, Dir: "/hooks/h"}
	home := t.TempDir()
	o := command.Options{Dir: home, Env: map[string]any{"A": "own", "P": core.NewSecret("hunter2\n")}}
	got := see(t, o, nil, m, func(h core.Hook, m core.Moment) error { return h.Pre(t.Context(), m) })
	group := got.Env["OFFSITE_GROUP"]
	delete(got.Env, "OFFSITE_GROUP")
	want := seen{
		Args: []string{}, Dir: home,
		Env: map[string]string{
			"A": "own", "B": "inherited", "P": "hunter2\n", "OFFSITE_STATE": "inherited", childVar: "show", "PATH": os.Getenv("PATH"),
			"OFFSITE_ID": "id", "OFFSITE_JOB": "web", "OFFSITE_PHASE": "pre", "OFFSITE_HOOK": "h", "OFFSITE_DIR": "/hooks/h",
		},
		Input: map[string]any{"v": 1., "id": "id", "job": "web", "phase": "pre", "hook": "h", "dir": "/hooks/h"},
	}
	if !reflect.DeepEqual(got, want) || group == "" {
		t.Errorf("got\n%v %s, want\n%v", got, group, want)
	}
}

func TestToldAfterwards(t *testing.T) {
	// Longer than the system lets a variable be.
	long := errors.New("dump\x00\xff: " + strings.Repeat("ä", 100_000))
	m := core.Moment{ID: "id", Job: "web", Phase: core.Post, Dir: "/gone", Err: long}
	got := see(t, command.Options{}, nil, m, func(h core.Hook, m core.Moment) error { return h.Post(t.Context(), m) })
	if e := got.Env["OFFSITE_ERROR"]; !strings.HasPrefix(e, "dump\xff: ää") && !strings.HasPrefix(e, "dump\ufffd: ää") || !strings.HasSuffix(e, "ää…") || len(e) > 5000 {
		t.Errorf("error %d bytes: %.20q", len(e), e)
	}
	if e := got.Input["error"]; e != strings.ToValidUTF8(long.Error(), "\ufffd") {
		t.Errorf("error %.20q", e)
	}

	m = core.Moment{ID: "id", Job: "web", Phase: core.After}
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.FixedZone("", 3600))
	r := core.Result{
		Outcome: core.Degraded, Err: errors.New("nas is full"), Backup: core.Backup{ID: "id", Name: "n", Created: noon},
		Agents: []core.AgentResult{{Agent: "disk", State: core.Stored}, {Agent: "s3:b/p", State: core.Missing, Err: errors.New("no\nspace")}, {Agent: "c", State: core.Pending}},
	}
	got = see(t, command.Options{}, nil, m, func(h core.Hook, m core.Moment) error { return h.After(t.Context(), m, r) })
	for name, want := range map[string]string{
		"OFFSITE_PHASE": "after", "OFFSITE_OUTCOME": "degraded", "OFFSITE_ERROR": "nas is full",
		"OFFSITE_AGENTS": "disk: stored\ns3:b/p: failed: no space\nc: pending",
	} {
		if got.Env[name] != want {
			t.Errorf("%s=%q", name, got.Env[name])
		}
	}
	backup, _ := got.Input["backup"].(map[string]any)
	delete(got.Input, "backup")
	want := map[string]any{
		"v": 1., "id": "id", "job": "web", "phase": "after", "hook": "h", "error": "nas is full", "outcome": "degraded",
		"agents": []any{
			map[string]any{"name": "disk", "state": "stored"},
			map[string]any{"name": "s3:b/p", "state": "failed", "error": "no\nspace"},
			map[string]any{"name": "c", "state": "pending"},
		},
	}
	if !reflect.DeepEqual(got.Input, want) || backup["id"] != "id" || backup["name"] != "n" || backup["schema"] != core.Schema || backup["created"] != "2026-11-23T11:00:00Z" {
		t.Errorf("told\n%v, backup %v, want\n%v", got.Input, backup, want)
	}
}

// hook makes a hook with the environment of this process, as far as it matters.
func hook(t *testing.T, o command.Options) core.Hook {
	t.Helper()
	return hookWith(t, o, nil)
}

func hookWith(t *testing.T, o command.Options, log *slog.Logger) core.Hook {
	t.Helper()
	env := []string{"A=inherited", "B=inherited", "OFFSITE_STATE=inherited", "OFFSITE_ERROR=of another run", "PATH=" + os.Getenv("PATH"), "broken"}
	h, err := command.Kind{Env: env}.Hook("h", &o, log)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// childVar says what this program is to do, where it is not the tests.
const childVar = "COMMAND_TEST"

func TestMain(m *testing.M) {
	var err error
	switch role := os.Getenv(childVar); role {
	case "":
		os.Exit(m.Run())
	case "show":
		err = new(seen).write(os.Args[1])
	default:
		err = play(context.Background(), role)
	}
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
}
