package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/archive"
	"github.com/offsite-backup/offsite/core/platform"
)

// A place is an agent as a person named it.
type place struct {
	written string // on the command line
	name    string // of the agent
	dir     string // its directory on this machine, "" where it is elsewhere
	config  core.Config
}

// A directory is a core.Config of an agent that keeps backups in a directory of
// this machine. Such an agent is read before others, and its directory is left
// out of what is backed up.
type directory interface {
	LocalDir() string // absolute
}

// places parses what was written as the option --to or --from. Nothing is asked
// of the places.
func (a *app) places(option string, written []string) ([]place, error) {
	if len(written) == 0 {
		return nil, usagef("no place: give at least one --%s, such as --%s ./copies", option, option)
	}
	var all []place
	for _, w := range written {
		c, err := a.kinds.Parse(w)
		if err != nil {
			return nil, usagef("--%s: %w", option, err)
		}
		p := place{written: w, name: c.Place(), config: c}
		if d, ok := c.(directory); ok {
			p.dir = d.LocalDir()
		}
		for _, other := range all {
			if p.same(other) {
				return nil, usagef("--%s %s and --%s %s are the same place", option, other.written, option, w)
			}
		}
		all = append(all, p)
	}
	return all, nil
}

func (p place) same(other place) bool {
	return p.name == other.name || p.dir != "" && other.dir != "" && archive.RealPath(p.dir) == archive.RealPath(other.dir)
}

// contains says whether a path is dir or lies in it.
func contains(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// A session is a platform over the places of one command.
type session struct {
	*platform.Platform
	places []place // as they were written
}

// names are those of the agents, as they were written.
func (s *session) names() (names []string) {
	for _, p := range s.places {
		names = append(names, p.name)
	}
	return names
}

// written is how a person named an agent.
func (s *session) written(name string) string {
	for _, p := range s.places {
		if p.name == name {
			return p.written
		}
	}
	return name
}

// connect opens the agents of places, local ones first: they are the nearest.
func (a *app) connect(ctx context.Context, places []place, progress func(core.Progress)) (_ *session, err error) {
	s := &session{Platform: &platform.Platform{Env: a.agentEnv()}, places: places}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.Origin.Host, err = a.host(); err != nil {
		return nil, fmt.Errorf("the name of this host: %w", err)
	}
	nearest := slices.Clone(places)
	slices.SortStableFunc(nearest, func(p, q place) int { return cmp.Compare(p.distance(), q.distance()) })
	for _, p := range nearest {
		env := s.Env
		env.Name, env.Progress = p.name, progress
		agent, err := p.config.Open(ctx, env)
		if errors.Is(err, core.ErrInvalid) {
			err = usagef("%s: %w", p.written, err)
		}
		if err != nil {
			return nil, err
		}
		s.Agents = append(s.Agents, agent)
	}
	return s, nil
}

func (p place) distance() int {
	if p.dir != "" {
		return 0
	}
	return 1
}

func (s *session) close() error {
	var errs []error
	for _, a := range s.Agents {
		errs = append(errs, a.Close())
	}
	return errors.Join(errs...)
}

// read runs f over the places of --from.
func (a *app) read(ctx context.Context, from []string, f func(*session) error) error {
	return a.readShown(ctx, from, silent{}, f)
}

// fetch is read, and shows how far it is until f calls shown.
func (a *app) fetch(ctx context.Context, from []string, f func(s *session, shown func()) error) error {
	m := a.newMeter()
	shown := sync.OnceFunc(m.close)
	defer shown()
	return a.readShown(ctx, from, m, func(s *session) error { return f(s, shown) })
}

func (a *app) readShown(ctx context.Context, from []string, m meter, f func(*session) error) (err error) {
	places, err := a.places("from", from)
	if err != nil {
		return err
	}
	s, err := a.connect(ctx, places, m.update)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return f(s)
}

// store runs f over the places of --to, shows how far it is, and tells how it
// went. back is the command that gets the backup back, without its places.
func (a *app) store(ctx context.Context, places []place, f func(*session) platform.Report, back func(core.Backup) string) (err error) {
	if a.stateDir() == "" {
		return usagef("no folder for what is owed between runs: there is no home, so give --state")
	}
	m := a.newMeter()
	s, err := a.connect(ctx, places, m.update)
	if err != nil {
		m.close()
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	report := f(s)
	m.close() // before anything else is told
	return a.report(s, report, back(report.Backup))
}

func (a *app) agentEnv() core.Env {
	env := core.Env{Now: a.now, StateDir: a.stateDir(), Log: a.log()}
	if env.StateDir != "" {
		env.CacheDir = filepath.Join(env.StateDir, "cache")
	}
	return env
}

// stateDir is the folder for what is owed between runs, "" where nothing says
// which.
func (a *app) stateDir() string {
	home, err := a.home()
	switch {
	case a.state != "":
		return a.state
	case filepath.IsAbs(a.env["XDG_STATE_HOME"]):
		return filepath.Join(a.env["XDG_STATE_HOME"], "offsite")
	case a.uid == 0:
		return "/var/lib/offsite"
	case err != nil:
		return ""
	case runtime.GOOS == "windows":
		return filepath.Join(home, "AppData", "Local", "offsite")
	}
	return filepath.Join(home, ".local", "state", "offsite")
}

// log is where agents say what is no result and no error.
func (a *app) log() *slog.Logger {
	level := slog.LevelWarn
	switch {
	case a.quiet:
		level = slog.LevelError
	case a.verbose:
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.console, &slog.HandlerOptions{Level: level, ReplaceAttr: noTime}))
}

// noTime leaves the time out: whoever collects standard error adds it.
func noTime(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) == 0 && attr.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return attr
}

// inside answers an error where a path to back up lies in a place to store at:
// all of that is left out, and so would the path be.
func (p place) inside(path string) error {
	abs, err := filepath.Abs(path)
	if err != nil || p.dir == "" {
		return err
	}
	if _, err := os.Lstat(abs); err == nil && contains(archive.RealPath(p.dir), archive.RealPath(abs)) {
		return usagef("%s lies in --to %s, which is left out of the backup: store at another place, or a folder of its own such as %s",
			path, p.written, filepath.Join(p.written, "copies"))
	}
	return nil
}
