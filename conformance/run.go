package conformance

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const seedVariable = "OFFSITE_CONFORMANCE_SEED"

// Run runs the cases as subtests of t. Those of level Core are left out when
// testing.Short says so.
func Run(t *testing.T, target Target) {
	t.Helper()
	target.Short = target.Short || testing.Short()
	s := newSuite(target)
	t.Logf("%s=%d", seedVariable, s.seed)
	defer s.end(context.WithoutCancel(t.Context()))
	for _, c := range s.cases() {
		t.Run(c.Name(), func(t *testing.T) {
			switch r := s.try(t.Context(), c, strings.SplitN(t.Name(), "/", 2)[0]); r.Status {
			case Pass:
			case NotApplicable:
				t.Logf("n/a: %s", r.Reason)
			default:
				t.Error("\n" + r.Message)
			}
		})
	}
}

// Check runs the cases without a test. It ends early, with the cases that it
// came to, when ctx does. What a target lacks it declares, as for Run.
func Check(ctx context.Context, target Target) Report {
	s := newSuite(target)
	defer s.end(context.WithoutCancel(ctx))
	for _, c := range s.cases() {
		if s.report.Interrupted = ctx.Err() != nil; s.report.Interrupted {
			break
		}
		s.try(ctx, c, "TestAgent")
	}
	return s.report
}

// A suite is one run.
type suite struct {
	target Target
	seed   uint64
	base   string // below which its namespaces lie
	report Report

	mu     sync.Mutex
	used   []Namespace // to be clean at the end
	beside []Namespace // planted as others' places
}

func newSuite(target Target) *suite {
	if target.Limits.PartSize == 0 {
		target.Limits.PartSize = 8 << 20
	}
	if target.Limits.Page == 0 {
		target.Limits.Page = 7
	}
	if target.Limits.InFlight == 0 {
		target.Limits.InFlight = 4
	}
	seed := target.Seed
	if seed == 0 {
		seed, _ = strconv.ParseUint(os.Getenv(seedVariable), 10, 64)
	}
	if seed == 0 {
		seed = rand.Uint64()
	}
	s := &suite{target: target, seed: seed, report: newReport(seed, target.Short)}
	s.base = fmt.Sprintf("c%08x", rand.Uint32()) // not of the seed: a second run finds a fresh place
	return s
}

func (s *suite) cases() []Case {
	return slices.DeleteFunc(Cases(), func(c Case) bool {
		return s.target.Select != nil && !s.target.Select(c) || s.target.Short && c.Level != Short
	})
}

// try runs one case and adds its result to the report.
func (s *suite) try(ctx context.Context, c Case, within string) Result {
	begin := time.Now()
	r := Result{ID: c.ID, Words: c.Words, Level: c.Level}
	if v, ok := s.lacks(c); ok {
		r.Status, r.Reason = v.status, v.observed
		if v.status != NotApplicable {
			r.Reason = v.reason
			r.Message = c.block(v, nil, s.seed, within)
		}
		s.report.add(r)
		return r
	}
	t := s.newTrial(ctx, c)
	v := t.play()
	r.Status, r.Millis = v.status, time.Since(begin).Milliseconds()
	switch v.status {
	case Pass:
	case NotApplicable:
		r.Reason = v.observed
	default:
		r.Reason = v.reason
		r.Message = c.block(v, t.done(), s.seed, within)
	}
	s.report.add(r)
	return r
}

// lacks says how a case ends for want of a means, and whether it does.
func (s *suite) lacks(c Case) (verdict, bool) {
	has := map[Means]bool{
		MeansRaw: s.target.Raw != nil, MeansFaulty: s.target.OpenFaulty != nil, MeansCrash: s.target.Crash != nil,
		MeansModes: s.target.Modes != nil, MeansSync: s.target.OpenFaulty != nil, MeansSweep: true,
		MeansSecrets: len(s.target.Secrets) > 0, MeansWire: s.target.Wire.whole(),
		MeansAnswers: s.target.Wire.has(anyAnswer), MeansClock: s.target.Wire.has(clockAnswer),
		MeansLateError: s.target.Wire.has(Answer.late),
	}
	opaque := s.target.Wire.opaque() && slices.Contains(c.Needs, MeansWire)
	if opaque && c.opaque == nil {
		return verdict{status: NotApplicable, observed: string(MeansWire) + ": it is about HTTP, which this server does not speak"}, true
	}
	for _, m := range c.Needs {
		if opaque && (m == MeansAnswers || m == MeansClock || m == MeansLateError) {
			continue
		}
		if why := s.target.Lacks[m]; why != "" {
			return verdict{status: NotApplicable, observed: string(m) + ": " + why}, true
		}
		if !has[m] {
			return verdict{
				status: Inconclusive, reason: string(m) + ": not given",
				expected: fmt.Sprintf("a target with %q, or the reason in Lacks why it cannot have it", m),
				observed: "neither",
			}, true
		}
	}
	return verdict{}, false
}

// namespace makes a fresh one and remembers it for the judgement of the run.
func (s *suite) namespace(rest string) Namespace {
	s.mu.Lock()
	defer s.mu.Unlock()
	ns := Namespace(s.base + "-" + rest)
	s.used = append(s.used, ns)
	return ns
}

// end removes what the suite stored.
func (s *suite) end(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.target.Raw == nil {
		return
	}
	for _, ns := range slices.Concat(s.used, s.beside) {
		// What cannot be removed is left in a namespace of this run alone.
		keys, _ := s.target.Raw.List(ctx, ns)
		for _, k := range keys {
			_ = s.target.Raw.Delete(ctx, ns, k)
		}
	}
}

func hashOf(text string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(text))
	return h.Sum64()
}
