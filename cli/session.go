package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

// A session is a platform over the places of one command.
type session struct {
	*platform.Platform
	places []place      // in the order in which they are shown
	config *config.File // that the places are of; nil where they are written
	shown  *shown       // told how far transfers are
}

// names are those of the agents, in the order in which they are shown.
func (s *session) names() (names []string) {
	for _, p := range s.places {
		names = append(names, p.name)
	}
	return names
}

// again is what another command needs to mean an agent.
func (s *session) again(name string) string {
	for _, p := range s.places {
		if p.name == name {
			return p.again
		}
	}
	return ""
}

// connect opens the agents of places, all at once, so that none waits for another.
// One that cannot be opened now is there, and fails.
func (a *app) connect(ctx context.Context, places []place) (_ *session, err error) {
	s, err := a.session()
	if err != nil {
		return nil, err
	}
	s.places = places
	agents, errs := make([]core.Agent, len(places)), make([]error, len(places))
	var all sync.WaitGroup
	for i, p := range places {
		all.Go(func() { agents[i], errs[i] = p.agent(ctx, s.Env) })
	}
	all.Wait()
	for _, agent := range agents {
		if agent != nil {
			s.Agents = append(s.Agents, agent)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// session is one without agents.
func (a *app) session() (*session, error) {
	s := &session{Platform: &platform.Platform{Env: a.agentEnv(), Hook: a.undo, End: a.end}, shown: &shown{}}
	s.Env.Progress = s.shown.update
	var err error
	if s.Origin.Host, err = a.host(); err != nil {
		return nil, fmt.Errorf("the name of this host: %w", err)
	}
	return s, nil
}

// openTime bounds the opening of one agent.
const openTime = 30 * time.Second

func (p place) agent(ctx context.Context, env core.Env) (core.Agent, error) {
	env.Name = p.name
	within, cancel := context.WithTimeoutCause(ctx, openTime, core.Errorf(core.ErrUnavailable, "not opened within %v", openTime))
	defer cancel()
	agent, err := p.open(within, env)
	mistakes := config.Errors(nil)
	switch {
	case err == nil:
		return agent, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, &mistakes):
		return nil, usageError{err: err}
	case errors.Is(err, core.ErrInvalid):
		return nil, usagef("%s: %w", p.written, err)
	}
	return unopened{p.name, err}, nil
}

// nearest puts places of this machine first.
func nearest(places []place) []place {
	sorted := slices.Clone(places)
	slices.SortStableFunc(sorted, func(p, q place) int { return cmp.Compare(p.distance(), q.distance()) })
	return sorted
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

// only is a session of some of the agents, in the order of their names. It is
// closed with the whole.
func (s *session) only(names []string) *session {
	part := *s
	p := *s.Platform
	part.Platform, part.places, p.Agents = &p, nil, nil
	for _, name := range names {
		i := slices.IndexFunc(s.Agents, func(a core.Agent) bool { return a.Name() == name })
		j := slices.IndexFunc(s.places, func(p place) bool { return p.name == name })
		p.Agents, part.places = append(p.Agents, s.Agents[i]), append(part.places, s.places[j])
	}
	return &part
}

// read runs f over the places of --from, or else of the configuration.
func (a *app) read(ctx context.Context, from []string, f func(*session) error) (err error) {
	var places []place
	var file *config.File
	if len(from) > 0 {
		places, err = a.places("--from ", from)
	} else if file, err = a.readable(); err == nil {
		places = a.placesOf(file)
	}
	if err != nil {
		return err
	}
	s, err := a.connect(ctx, nearest(places))
	if err != nil {
		return err
	}
	s.places, s.config = places, file
	defer func() { err = errors.Join(err, s.close()) }()
	return f(s)
}

// fetch is read, and shows how far it is until f calls shown.
func (a *app) fetch(ctx context.Context, from []string, f func(s *session, shown func()) error) error {
	return a.read(ctx, from, func(s *session) error {
		ended := a.watch(s)
		defer ended()
		return f(s, ended)
	})
}

// watch shows how far a session's transfers are, until ended is called; once is
// enough.
func (a *app) watch(s *session) (ended func()) {
	m := a.newMeter()
	s.shown.to(m)
	return sync.OnceFunc(func() {
		s.shown.to(silent{})
		m.close()
	})
}

// store runs f over the places of --to, shows how far it is, and tells how it
// went. back is the command that gets the backup back, without its places.
func (a *app) store(ctx context.Context, places []place, f func(*session) platform.Report, back func(core.Backup) string) (err error) {
	if err := a.hasState(); err != nil {
		return err
	}
	s, err := a.connect(ctx, places)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	ended := a.watch(s)
	report := f(s)
	ended() // before anything else is told
	return a.report(s, report, back(report.Backup))
}
