package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/offsite-backup/offsite/core"
)

// A rule says how many copies make a success.
type rule struct {
	copies  int // 0 means all
	require []string
}

func (r *run) rule() rule { return rule{r.job.Copies, r.job.Require} }

func (r rule) check(agents []core.Agent) error {
	if len(agents) == 0 {
		return core.Errorf(core.ErrInvalid, "no agent to send to")
	}
	if r.copies < 0 || r.copies > len(agents) {
		return core.Errorf(core.ErrInvalid, "%d copies are asked for, there are %d agents", r.copies, len(agents))
	}
	all := names(agents)
	for _, name := range r.require {
		if !slices.Contains(all, name) {
			return core.Errorf(core.ErrInvalid, "required agent %q is none of %s", name, strings.Join(all, ", "))
		}
	}
	return nil
}

// judge sets Outcome and Err of res by its agents. source is what went wrong
// before the archive was sealed. Then the error of an agent may be that, in other
// words, of which ours knows: it is none of the agent's.
func (r rule) judge(res core.Result, source error, ours func(error) bool) core.Result {
	var errs []error
	if source != nil {
		errs = append(errs, source)
	}
	stored, required := 0, true
	for i, a := range res.Agents {
		if a.State == core.Stored {
			stored++
			continue
		}
		required = required && !slices.Contains(r.require, a.Agent)
		if source != nil && ours(a.Err) {
			res.Agents[i].State, res.Agents[i].Err = core.Skipped, nil
			continue
		}
		errs = append(errs, a.Err)
	}
	want := r.copies
	if want == 0 {
		want = len(res.Agents)
	}
	res.Err = errors.Join(errs...)
	switch {
	case source != nil || stored < want || !required:
		res.Outcome = core.Failed
	case stored < len(res.Agents):
		res.Outcome = core.Degraded
	default:
		res.Outcome = core.OK
	}
	return res
}

func names(agents []core.Agent) (all []string) {
	for _, a := range agents {
		all = append(all, a.Name())
	}
	return all
}

// A sending is one source on its way to several agents.
type sending struct {
	all     sync.WaitGroup
	results []core.AgentResult
}

// dispatch uploads src to every agent at once, each in its own goroutine, after
// first, whose error keeps it from being asked. done is called with each result.
func dispatch(ctx context.Context, agents []core.Agent, src core.Source, first func(context.Context, core.Agent) error, done func(core.AgentResult)) *sending {
	s := &sending{results: make([]core.AgentResult, len(agents))}
	for i, a := range agents {
		s.all.Go(func() {
			s.results[i] = core.AgentResult{Agent: a.Name(), State: core.Missing}
			if s.results[i].Err = first(ctx, a); s.results[i].Err == nil {
				s.results[i] = upload(ctx, a, src)
			}
			done(s.results[i])
		})
	}
	return s
}

// wait returns how each agent's part went, in the order of the agents.
func (s *sending) wait() []core.AgentResult {
	s.all.Wait()
	return s.results
}

func upload(ctx context.Context, a core.Agent, src core.Source) (res core.AgentResult) {
	res = core.AgentResult{Agent: a.Name(), State: core.Stored}
	defer func() {
		if p := recover(); p != nil {
			res.Err = fmt.Errorf("%s: panic: %v", a.Name(), p)
		}
		if res.Err != nil {
			res.State = core.Missing
		}
	}()
	res.Err = a.Upload(ctx, src)
	return res
}
