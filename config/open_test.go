package config_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
)

func parse(t *testing.T, text string) *config.File {
	t.Helper()
	f, err := kinds().Parse("offsite.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

type noLimit struct{}

func (noLimit) WaitN(context.Context, int) error { return nil }

func TestOpenAgent(t *testing.T) {
	f := parse(t, full)
	secrets := config.Secrets{Env: map[string]string{"TOKEN": "swordfish"}}
	opened, err := f.Agent("offsite").Open(t.Context(), secrets, core.Env{Limit: noLimit{}, StateDir: "/state"})
	if err != nil {
		t.Fatal(err)
	}
	env := opened.(*agent).env
	if env.Name != "offsite" || env.StateDir != "/state" || env.Patience != (core.Patience{Stall: 2 * time.Minute, Retry: 90 * time.Minute, Total: 24 * time.Hour}) {
		t.Errorf("opened with %+v", env)
	}
	if _, err := f.Agent("offsite").Open(t.Context(), secrets, core.Env{}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a limit that nobody keeps: %v", err)
	}
}

func TestOpenAgentWithSecrets(t *testing.T) {
	f := parse(t, theBox+"key: {env: KEY}, tokens: {t: {env: KEY}}, vars: {plain: db, hidden: {env: KEY}}, strict: true}}}\n")
	open := func(value string) *box {
		opened, err := f.Agent("b").Open(t.Context(), config.Secrets{Env: map[string]string{"KEY": value}}, core.Env{})
		if err != nil {
			t.Fatal(err)
		}
		return opened.(*agent).config.(*box)
	}
	for _, value := range []string{"one", "two"} {
		b := open(value)
		got := []string{b.Key.Reveal(), b.Tokens["t"].Reveal(), b.Vars["hidden"].(core.Secret).Reveal(), b.Vars["plain"].(string), fmt.Sprint(b.Port, *b.Strict)}
		if want := []string{value, value, value, "db", "22 true"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if s := f.Agents[0].Config.(*box).Key; !s.IsZero() {
		t.Error("the file keeps a secret")
	}
}

func TestOpenJob(t *testing.T) {
	j, err := parse(t, full).Job("web1")
	if err != nil {
		t.Fatal(err)
	}
	p, err := j.Open(t.Context(), config.Secrets{})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{p.Name, p.Paths, p.Exclude, p.AllowEmpty, p.MaxPause, p.Copies, p.Require, p.Tags, p.KeepPending, len(p.Hooks)}
	want := []any{j.Name, j.Paths, j.Exclude, true, 15 * time.Minute, 2, []string{"offsite"}, core.Tags{"stage": "production"}, 14 * 24 * time.Hour, 2}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
	database, pause := p.Hooks[0], p.Hooks[1]
	if database.Name != "database" || database.Timeout != 10*time.Minute || database.Optional || database.Debt != nil {
		t.Errorf("%+v", database)
	}
	const debt = `{"name": "pause-app", "command": {"pre": ["systemctl", "stop", "app"], "post": ["systemctl", "start", "app"]}, "optional": true}`
	if pause.Name != "pause-app" || !pause.Optional || string(pause.Debt) != debt {
		t.Errorf("%+v, owing %s", pause, pause.Debt)
	}
}

// TestOpenFails: what only opening finds is said with its place in the file.
func TestOpenFails(t *testing.T) {
	tests := map[string]struct{ yaml, want string }{
		"a kind that refuses":      {"agents: {a: {s3: {bucket: BAD}}}", "offsite.yaml:1:18: agents.a.s3: s3:BAD/: BAD is no bucket's name"},
		"the machine":              {"agents: {a: {s3: {bucket: unreadable}}}", "offsite.yaml:1:18: agents.a.s3: denied: reading the AWS files"},
		"a hook that refuses":      {job + "    hooks: [{name: a, command: {dir: /var}}]", "offsite.yaml:6:32: jobs.web1.hooks[0].command: a runs nothing: give pre, post or after"},
		"a hook of a restore":      {job + "    restore: {hooks: [{name: a, command: {dir: /var}}]}", "offsite.yaml:6:42: jobs.web1.restore.hooks[0].command: a runs nothing: give pre, post or after"},
		"nothing to back up":       {head + "  web1: {to: [disk], hooks: [{name: a, command: {after: [b]}}]}", "offsite.yaml:3:9: jobs.web1: nothing to back up: give paths, or a hook with a pre that writes into its folder"},
		"a secret":                 {theBox + "key: {env: NONE}, tokens: {t: {env: EMPTY}}}}}", "offsite.yaml:2:10: agents.b.box.key: the variable NONE: is not set\noffsite.yaml:2:35: agents.b.box.tokens.t: the variable EMPTY: gives an empty secret"},
		"a secret of a hook":       {job + "    hooks: [{name: a, command: {pre: [b], env: {P: {env: NONE}}}}]", "offsite.yaml:6:52: jobs.web1.hooks[0].command.env.P: the variable NONE: is not set"},
		"all of it, in its order":  {"agents: {a: {s3: {bucket: BAD}}, b: {box: {key: {env: NONE}}}}", "offsite.yaml:1:18: agents.a.s3: s3:BAD/: BAD is no bucket's name\noffsite.yaml:1:49: agents.b.box.key: the variable NONE: is not set"},
		"a directory that is none": {"agents: {a: {local: /dev/null}}", "offsite.yaml:1:21: agents.a.local: /dev/null is no directory"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := parse(t, test.yaml).Check(t.Context(), config.Secrets{Env: map[string]string{"EMPTY": "\n"}})
			if !errors.Is(err, core.ErrInvalid) || err.Error() != test.want {
				t.Errorf("\n got %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	file := write(t, "secret", 0o600, "swordfish\n")
	f := parse(t, strings.ReplaceAll(full, "/etc/offsite/nas.key", file))
	if err := f.Check(t.Context(), config.Secrets{Env: map[string]string{"TOKEN": "swordfish"}}); err != nil {
		t.Error(err)
	}
	f = parse(t, "agents: {a: {s3: {bucket: asks}}}")
	if err := f.Check(t.Context(), config.Secrets{}); err != nil {
		t.Errorf("an agent that asks its place: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrClosedPipe)
	if err := parse(t, full).Check(ctx, config.Secrets{}); !errors.Is(err, io.ErrClosedPipe) || errors.Is(err, core.ErrInvalid) {
		t.Errorf("a check that is given up: %v", err)
	}
}

// TestDebt: whatever a hook is made of, it is made of the same again by what it
// owes.
func TestDebt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		char := rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune("\x7f\x85\u2028\ufeff\uffff\U0001F600\"\\'#:{}[],&*!%@`|>\n\t $~")))
		text := rapid.StringOf(char.Filter(func(r rune) bool { return r != 0 }))
		want := commandOptions{
			Pre:  rapid.SliceOfN(text, 1, 3).Draw(t, "pre"),
			Post: rapid.SliceOfN(text, 1, 3).Draw(t, "post"),
			Env:  map[string]any{},
			Dir:  "/" + text.Draw(t, "dir"),
		}
		for name, value := range rapid.MapOfN(text.Filter(func(s string) bool { return s != "" && len(s) < 200 }), text, 1, 3).Draw(t, "env") {
			want.Env[name] = value
		}
		made, err := kinds().Hook(context.Background(), config.Secrets{}, appendHook(nil, want))
		if err != nil {
			t.Fatal(err)
		}
		again, err := kinds().Hook(context.Background(), config.Secrets{}, made.Debt)
		if err != nil {
			t.Fatalf("%s: %v", made.Debt, err)
		}
		if !bytes.Equal(made.Debt, again.Debt) {
			t.Errorf("owes %s, then %s", made.Debt, again.Debt)
		}
		for _, h := range []core.Hook{made, again} {
			got := given{}
			if err := h.Post(context.Background(), core.Moment{}); !errors.As(err, &got) || !reflect.DeepEqual(got.commandOptions, want) {
				t.Errorf("made of\n%q, wanted\n%q", got.commandOptions, want)
			}
		}
	})
}

// appendHook writes a hook as YAML, every character by its number.
func appendHook(b []byte, c commandOptions) []byte {
	text := func(s string) {
		b = append(b, '"')
		for _, r := range s {
			b = fmt.Appendf(b, `\U%08x`, r)
		}
		b = append(b, '"', ',')
	}
	b = append(b, "name: a\ntimeout: 1m\ncommand:\n  pre: ["...)
	for _, s := range c.Pre {
		text(s)
	}
	b = append(b, "]\n  post: ["...)
	for _, s := range c.Post {
		text(s)
	}
	b = append(b, "]\n  dir: "...)
	text(c.Dir)
	b = append(b[:len(b)-1], "\n  env:\n"...)
	for name, value := range c.Env {
		b = append(b, "    ? "...)
		text(name)
		b = append(b[:len(b)-1], "\n    : "...)
		text(value.(string))
		b = append(b[:len(b)-1], '\n')
	}
	return b
}

// What an action lacks is a mistake to a check, of all of its actions. A job is opened
// without it: this night others may run, and hooks may be told.
func TestHooksAreReady(t *testing.T) {
	f := parse(t, job+"    hooks: [{name: a, command: {post: [missing], after: [missing]}}, {name: b, command: {pre: [x]}}]\n    restore: {hooks: [{name: c, command: {post: [missing]}}]}")
	const a = "offsite.yaml:6:32: jobs.web1.hooks[0].command: hook a: "
	p, err := f.Jobs[0].Open(t.Context(), config.Secrets{})
	if err != nil {
		t.Fatal(err)
	}
	if err := (core.Pipeline{Hooks: p.Hooks}).Ready(); err == nil || err.Error() != "hook a: post: missing: no such program" || errors.Is(err, core.ErrInvalid) {
		t.Errorf("%v", err)
	}
	const want = a + "post: missing: no such program\n" + a + "after: missing: no such program\noffsite.yaml:7:42: jobs.web1.restore.hooks[0].command: hook c: post: missing: no such program"
	if err := f.Check(t.Context(), config.Secrets{}); err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func TestDebtKeepsReferences(t *testing.T) {
	f := parse(t, job+"    hooks: [{name: a, optional: True, command: {post: [b], env: {P: {env: PASSWORD}}}}]")
	j, err := f.Job("web1")
	if err != nil {
		t.Fatal(err)
	}
	before := config.Secrets{Env: map[string]string{"PASSWORD": "swordfish"}}
	p, err := j.Open(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"name": "a", "optional": true, "command": {"post": ["b"], "env": {"P": {"env": "PASSWORD"}}}}`
	if got := string(p.Hooks[0].Debt); got != want {
		t.Fatalf("owes %s", got)
	}
	now := config.Secrets{Env: map[string]string{"PASSWORD": "trout"}}
	again, err := kinds().Hook(t.Context(), now, p.Hooks[0].Debt)
	if err != nil {
		t.Fatal(err)
	}
	got := given{}
	if err := again.Post(t.Context(), core.Moment{}); !errors.As(err, &got) || got.Env["P"].(core.Secret).Reveal() != "trout" {
		t.Errorf("made of %+v", got)
	}
	_, err = kinds().Hook(t.Context(), config.Secrets{}, p.Hooks[0].Debt)
	if err == nil || err.Error() != "what is owed:1:73: command.env.P: the variable PASSWORD: is not set" {
		t.Errorf("%v", err)
	}
	_, err = config.Kinds{}.Hook(t.Context(), now, p.Hooks[0].Debt)
	if err == nil || !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a kind that is not linked: %v", err)
	}
}
