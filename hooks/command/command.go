package command

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A Kind is the hook kind command. It satisfies config.HookKind, and holds nothing
// that changes.
type Kind struct {
	// Env is what programs inherit, as os.Environ gives it. Nil: nothing.
	Env []string
}

// Options are those of one hook: at least one of Pre, Post and After.
type Options struct {
	Pre, Post, After []string       // a program and its arguments; see the package comment
	Env              map[string]any // variables for all of them: string or core.Secret
	Dir              string         `config:"path"` // where they stand when they start; "" means the root
}

// Name is "command".
func (Kind) Name() string { return "command" }

// Config returns new Options.
func (Kind) Config() any { return new(Options) }

// Hook makes a hook of *Options, which must not change from then on. Its actions
// may run at the same time. It answers core.ErrInvalid for options that do not make
// one and core.ErrUnsupported on a system without process groups, and touches
// nothing. log, which may be nil, is told what an action left running that was ended.
func (k Kind) Hook(name string, config any, log *slog.Logger) (core.Hook, error) {
	o, err := options(name, config)
	if err != nil {
		return core.Hook{}, err
	}
	if err := o.check(name); err != nil {
		return core.Hook{}, err
	}
	h := hook{name: name, dir: o.Dir, env: inherit(k.Env, o.Env), secrets: patterns(o.Env), log: log}
	made := core.Hook{Name: name, Ready: func(phase core.Phase) error { return h.ready(o, phase) }}
	if len(o.Pre) > 0 {
		made.Pre = func(ctx context.Context, m core.Moment) error { return h.run(ctx, o.Pre, m, h.message(m)) }
	}
	if len(o.Post) > 0 {
		made.Post = func(ctx context.Context, m core.Moment) error { return h.run(ctx, o.Post, m, h.message(m)) }
	}
	if len(o.After) > 0 {
		made.After = func(ctx context.Context, m core.Moment, r core.Result) error {
			return h.run(ctx, o.After, m, h.message(m).of(r))
		}
	}
	return made, nil
}

// ready answers an error where the program of an action is not there, or may not be
// executed: better before the application is paused than when it is to go on.
func (h hook) ready(o *Options, phase core.Phase) error {
	for _, a := range o.actions() {
		if a.phase != phase || len(a.argv) == 0 {
			continue
		}
		if _, err := find(a.argv[0], h.env["PATH"]); err != nil {
			return fmt.Errorf("%s: %w", a.argv[0], err)
		}
	}
	return nil
}

func options(name string, config any) (*Options, error) {
	o, ok := config.(*Options)
	if !ok {
		return nil, core.Errorf(core.ErrInvalid, "%s: %T are no options of a command", name, config)
	}
	return o, nil
}

// An action is what runs in a phase; nothing where argv is empty.
type action struct {
	phase core.Phase
	argv  []string
}

func (o *Options) actions() []action {
	return []action{{core.Pre, o.Pre}, {core.Post, o.Post}, {core.After, o.After}}
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (o *Options) check(name string) error {
	if !supported {
		return core.Errorf(core.ErrUnsupported, "%s: hooks of kind command run on Linux and macOS alone", name)
	}
	actions := o.actions()
	if !slices.ContainsFunc(actions, func(a action) bool { return len(a.argv) > 0 }) {
		return core.Errorf(core.ErrInvalid, "%s runs nothing: give pre, post or after", name)
	}
	for _, a := range actions {
		if err := checkArgv(a.argv, a.phase); err != nil {
			return core.Errorf(core.ErrInvalid, "%s: %w", a.phase, err)
		}
	}
	for name, value := range o.Env {
		if err := checkVariable(name, value); err != nil {
			return core.Errorf(core.ErrInvalid, "env: %w", err)
		}
	}
	if o.Dir != "" && !filepath.IsAbs(o.Dir) {
		return core.Errorf(core.ErrInvalid, "dir: %q is not written in full", o.Dir)
	}
	return nil
}

func checkArgv(argv []string, phase core.Phase) error {
	switch joined := strings.Join(argv, " "); {
	case len(argv) == 0:
		return nil
	case argv[0] == "":
		return fmt.Errorf("the name of the program is empty")
	case strings.Contains(argv[0], "/") && !filepath.IsAbs(argv[0]):
		return fmt.Errorf("the program %q is a path that is not written in full", argv[0])
	case strings.ContainsRune(joined, 0):
		return fmt.Errorf("an argument holds a zero byte")
	case phase == core.After && slices.ContainsFunc(argv[1:], usesDir):
		return fmt.Errorf("there is no %s any more when this runs", dirWord)
	}
	return nil
}

// checkVariable never repeats a value.
func checkVariable(name string, value any) error {
	s, isSecret := value.(core.Secret)
	text, isText := value.(string)
	switch {
	case !variable.MatchString(name):
		return fmt.Errorf("%q is not the name of a variable, which has letters, digits and _", name)
	case slices.Contains(variables, name):
		return fmt.Errorf("%s is set for every program, and has another meaning", name)
	case !isSecret && !isText:
		return fmt.Errorf("%s is neither text nor a secret", name)
	case isSecret && s.IsZero():
		return fmt.Errorf("%s is a secret that is empty", name)
	case strings.ContainsRune(text+s.Reveal(), 0):
		return fmt.Errorf("%s holds a zero byte", name)
	}
	return nil
}

// A hook is what its actions share. It does not change.
type hook struct {
	name    string
	dir     string
	env     map[string]string // inherited, and of the options
	secrets [][]byte          // what no output shows
	log     *slog.Logger      // or nil
}

// A call is one run of a program.
type call struct {
	path    string // of the program
	argv    []string
	env     []string
	dir     string
	input   []byte
	secrets [][]byte
	outlive time.Duration // how long it may go on when this process dies
	leaves  bool          // what it leaves running, after it ended by itself, goes on
	note    func(core.Process) error
	warn    func(processes string) // that they were left and ended; nil: nobody is told
	unnoted func(error)            // why the group of a post was not noted; nil: nobody is told
}

// run runs a program. The error says how it ended and what it printed.
func (h hook) run(ctx context.Context, argv []string, m core.Moment, msg message) error {
	c, err := h.call(ctx, argv, m, msg)
	said := ""
	if err == nil {
		said, err = c.do(ctx)
	}
	if err == nil {
		return nil
	}
	if said != "" {
		said = "; it printed:\n    " + strings.ReplaceAll(said, "\n", "\n    ")
	}
	return fmt.Errorf("%s: %w%s", argv[0], err, said)
}

func (h hook) call(ctx context.Context, argv []string, m core.Moment, msg message) (c call, err error) {
	c = call{dir: h.dir, secrets: h.secrets, note: m.Runs, leaves: m.Phase == core.Post}
	if h.log != nil {
		c.warn = func(said string) {
			h.log.Warn("a hook left processes running, which were ended", "hook", h.name, "phase", m.Phase, "processes", said)
		}
		c.unnoted = func(err error) {
			h.log.Warn("the process group of a hook could not be noted", "hook", h.name, "phase", m.Phase, "error", err)
		}
	}
	if c.dir == "" {
		c.dir = "/"
	}
	if c.argv, err = expand(argv, m.Dir); err != nil {
		return c, err
	}
	if c.path, err = find(argv[0], h.env["PATH"]); err != nil {
		return c, err
	}
	if c.input, err = msg.json(); err != nil {
		return c, err
	}
	c.env = msg.environ(h.env)
	// What was begun by a process that died is worth nothing. What undoes it is.
	if m.Phase != core.Pre {
		c.outlive = core.DefaultTimeout
		if end, ok := ctx.Deadline(); ok {
			c.outlive = time.Until(end)
		}
	}
	return c, nil
}
