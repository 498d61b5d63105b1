package object

import (
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// explained is a memory that knows its provider's words.
type explained struct {
	*memory
	settings []core.Finding
	err      error
}

// A lack is what a right is called that is missing.
type lack string

func (l lack) Error() string { return "no " + string(l) }

func (explained) Right(err error) string {
	var l lack
	_ = errors.As(err, &l)
	return string(l)
}

func (x explained) Settings(context.Context) ([]core.Finding, error) { return x.settings, x.err }

// refuse makes a memory refuse requests that begin with a word.
func refuse(kind core.ErrorKind, words ...string) func(string) error {
	return func(request string) error {
		for _, word := range words {
			if strings.HasPrefix(request+" ", word+" ") {
				return &core.Error{Kind: kind, Err: lack("mem:" + word)}
			}
		}
		return nil
	}
}

func examine(t *testing.T, store Store, env core.Env) (found []string) {
	t.Helper()
	env.Name = "mem"
	a := New(store, env)
	defer a.Close()
	for f, err := range a.Examine(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, strings.TrimSpace(f.What+" "+string(f.Verdict)+" "+f.Right))
		if f.Verdict != core.VerdictOK && f.Err == nil && f.Why == "" {
			t.Errorf("%s: %s, and nothing says why", f.What, f.Verdict)
		}
		if f.Err != nil && (strings.Contains(f.Err.Error(), "mem: ") || strings.Contains(f.Err.Error(), "examine")) {
			t.Errorf("%s: %v says again who and what", f.What, f.Err)
		}
	}
	return found
}

// TestExamine names what is refused, and nothing else; and leaves nothing.
func TestExamine(t *testing.T) {
	const ok = "write ok, clock ok, list ok, read ok, write parts ok, find uploads ok, list parts ok, abort uploads ok, delete ok"
	for name, c := range map[string]struct {
		before   func(string) error
		settings []core.Finding
		err      error
		want     string
		left     int
	}{
		"all is well":     {want: ok},
		"settings":        {settings: []core.Finding{{What: "versions", Verdict: core.VerdictNote, Why: "none"}}, want: ok + ", versions note"},
		"no settings":     {err: core.ErrUnavailable, want: ok + ", settings warning"},
		"no put":          {before: refuse(core.ErrDenied, "put"), want: "write failed mem:put, list ok, read ok, write parts ok, find uploads ok, list parts ok, abort uploads ok"},
		"no range":        {before: refuse(core.ErrDenied, "range"), want: strings.Replace(ok, "read ok", "read failed mem:range", 1)},
		"no list":         {before: refuse(core.ErrDenied, "list"), want: "list failed mem:list, " + strings.Replace(ok, "list ok, ", "", 1)},
		"no list of data": {before: refuse(core.ErrDenied, "list data/"), want: strings.Replace(ok, "list ok", "list failed mem:list data/", 1)},
		"no list of meta": {before: refuse(core.ErrDenied, "list meta/"), want: strings.Replace(ok, "list ok", "list failed mem:list meta/", 1)},
		"no begin":        {before: refuse(core.ErrDenied, "begin"), want: "write ok, clock ok, list ok, read ok, write parts failed mem:begin, find uploads ok, delete ok"},
		"no part":         {before: refuse(core.ErrDenied, "part"), want: strings.Replace(ok, "write parts ok", "write parts failed mem:part", 1)},
		"no list parts":   {before: refuse(core.ErrDenied, "parts"), want: strings.Replace(ok, "list parts ok", "list parts failed mem:parts", 1)},
		"no finding":      {before: refuse(core.ErrDenied, "multiparts"), want: strings.Replace(ok, "find uploads ok", "find uploads failed mem:multiparts", 1)},
		"no abort":        {before: refuse(core.ErrDenied, "abort"), want: strings.Replace(ok, "abort uploads ok", "abort uploads warning mem:abort", 1)},
		"no delete":       {before: refuse(core.ErrDenied, "delete"), want: strings.Replace(ok, "delete ok", "delete note mem:delete", 1), left: 1},
		"locked":          {before: refuse(core.ErrLocked, "delete"), want: strings.Replace(ok, "delete ok", "delete note", 1), left: 1},
		"no room":         {before: refuse(core.ErrNoSpace, "put"), want: "write failed, list ok, read ok, write parts ok, find uploads ok, list parts ok, abort uploads ok"},
		"nobody":          {before: refuse(core.ErrUnauthenticated, "list", "put"), want: "list failed"},
		"no answer":       {before: refuse(core.ErrUnavailable, "list", "put"), want: "list failed"},
		"no place":        {before: refuse(core.ErrNoPlace, "list", "put"), want: "write failed"},
		"made":            {before: atFirst(refuse(core.ErrNoPlace, "list")), want: "place note, " + ok},
		"gone in between": {before: refuse(core.ErrUnavailable, "stat"), want: "write ok, clock ok, list ok, read failed"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			m.before = c.before
			got := strings.Join(examine(t, explained{m, c.settings, c.err}, core.Env{}), ", ")
			if got != c.want {
				t.Errorf("found\n\t%s\nwant\n\t%s", got, c.want)
			}
			if len(m.keys()) != c.left || len(m.uploads) > 0 && name != "no abort" {
				t.Errorf("left: %v and %d uploads", m.keys(), len(m.uploads))
			}
		})
	}
}

// atFirst is f for one request.
func atFirst(f func(string) error) func(string) error {
	return func(request string) error {
		g := f
		f = func(string) error { return nil }
		return g(request)
	}
}

// TestExamineClock compares the two clocks.
func TestExamineClock(t *testing.T) {
	for behind, want := range map[time.Duration]string{
		0:                 "clock ok",
		30 * time.Second:  "clock ok",
		-30 * time.Second: "clock ok",
		2 * time.Minute:   "clock warning",
		-2 * time.Minute:  "clock warning",
		time.Hour:         "clock failed",
		-time.Hour:        "clock failed",
	} {
		env := core.Env{Now: func() time.Time { return time.Now().Add(-behind) }}
		if found := examine(t, newMemory(), env); !slices.Contains(found, want) {
			t.Errorf("%v behind: %v, want %s", behind, found, want)
		}
	}
}

// TestExamineAgain uses the scratch object that it may not remove again, and removes
// it when it may.
func TestExamineAgain(t *testing.T) {
	m, now := newMemory(), time.Now()
	m.now = func() time.Time { return now }
	env := core.Env{Now: m.now}
	m.before = refuse(core.ErrDenied, "delete")
	first := examine(t, m, env)
	left := m.keys()
	now = now.Add(2 * scratchStays)
	second := examine(t, m, env)
	if len(left) != 1 || !slices.Equal(m.keys(), left) {
		t.Errorf("%v is left, then %v", left, m.keys())
	}
	first = slices.DeleteFunc(first, func(f string) bool { return f == "clock ok" })
	if !slices.Equal(first, second) {
		t.Errorf("found %v, then %v", first, second)
	}
	m.before = nil
	examine(t, m, env)
	if len(m.keys()) > 0 {
		t.Errorf("left: %v", m.keys())
	}
}

// TestExamineBeside leaves alone what another machine examines the place by, whatever
// the clocks, and removes what is old by that of the place.
func TestExamineBeside(t *testing.T) {
	for _, skew := range []time.Duration{0, 3 * scratchStays, -3 * scratchStays, 30 * 24 * time.Hour} {
		m, now := newMemory(), time.Now()
		m.now = func() time.Time { return now }
		put := func(at time.Time) string {
			old, err := core.NewID(at, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			key := scratchKey(old)
			m.set(key, []byte(scratchText))
			s := m.objects[key]
			s.Modified = at
			m.objects[key] = s
			return key
		}
		ours, theirs := put(now.Add(-2*scratchStays)), put(now.Add(-time.Minute))
		env := core.Env{Now: func() time.Time { return now.Add(skew) }}
		for f, err := range New(dated{m}, env).Examine(t.Context()) {
			if err != nil || f.Verdict == core.VerdictFailed && f.What != "clock" {
				t.Errorf("skew %v: %+v, %v", skew, f, err)
			}
		}
		if got := m.keys(); !slices.Equal(got, []string{theirs}) {
			t.Errorf("skew %v: of %q and %q there are %q", skew, ours, theirs, got)
		}
	}
}

// dated is a memory that tells when uploads began.
type dated struct{ *memory }

func (d dated) Multiparts(ctx context.Context, prefix string) iter.Seq2[Multipart, error] {
	return func(yield func(Multipart, error) bool) {
		for m, err := range d.memory.Multiparts(ctx, prefix) {
			if !yield(startedAt{m, d.now()}, err) {
				return
			}
		}
	}
}

type startedAt struct {
	Multipart
	at time.Time
}

func (s startedAt) Started() time.Time { return s.at }

// forgetful is a place where nobody finds the uploads that were begun.
type forgetful struct{ *memory }

func (forgetful) Multiparts(context.Context, string) iter.Seq2[Multipart, error] {
	return func(func(Multipart, error) bool) {}
}

// TestExamineForgetful goes on where uploads cannot be found again.
func TestExamineForgetful(t *testing.T) {
	m := newMemory()
	const want = "write ok, clock ok, list ok, read ok, write parts ok, find uploads note, list parts ok, abort uploads ok, delete ok"
	if got := strings.Join(examine(t, forgetful{m}, core.Env{}), ", "); got != want {
		t.Errorf("found\n\t%s\nwant\n\t%s", got, want)
	}
	if len(m.keys())+len(m.uploads) > 0 {
		t.Errorf("left: %v and %d uploads", m.keys(), len(m.uploads))
	}
}

// walled is a memory of directories with rights of their own.
type walled struct {
	*memory
	wall string
}

func (w walled) Writable(_ context.Context, prefix string) error {
	if prefix == w.wall {
		return &core.Error{Kind: core.ErrDenied}
	}
	return nil
}

// TestExamineWritable looks where backups are, past what waits and tries again.
func TestExamineWritable(t *testing.T) {
	for wall, want := range map[string]string{dataPrefix: "write failed", metaPrefix: "write failed", "": "write ok"} {
		m := newMemory()
		if found := examine(t, Retry(walled{m, wall}, core.Env{}), core.Env{}); !slices.Contains(found, want) {
			t.Errorf("%q is walled: %q, want %q", wall, found, want)
		}
		if len(m.keys()) > 0 {
			t.Errorf("left: %v", m.keys())
		}
	}
}

// TestExamineEnds leaves nothing when it is not let go on.
func TestExamineEnds(t *testing.T) {
	why := errors.New("no time")
	for _, at := range []string{"stat", "range", "part", "multiparts", "parts", "abort", "delete"} {
		t.Run(at, func(t *testing.T) {
			m := newMemory()
			a := open(t, m, core.Env{})
			ctx, cancel := context.WithCancelCause(t.Context())
			m.before = func(request string) error {
				if strings.HasPrefix(request, at+" ") && ctx.Err() == nil {
					cancel(why)
					return why
				}
				return nil
			}
			var last error
			for _, last = range a.Examine(ctx) {
			}
			if !errors.Is(last, why) {
				t.Errorf("ends with %v", last)
			}
			if len(m.keys())+len(m.uploads) > 0 {
				t.Errorf("left: %v and %d uploads", m.keys(), len(m.uploads))
			}
		})
	}
	m := newMemory()
	a := open(t, m, core.Env{})
	for n := 1; n <= 9; n++ {
		seen := 0
		for range a.Examine(t.Context()) {
			if seen++; seen == n {
				break
			}
		}
		if len(m.keys())+len(m.uploads) > 0 {
			t.Errorf("left after %d findings: %v and %d uploads", n, m.keys(), len(m.uploads))
		}
	}
	a.Close()
	for _, err := range a.Examine(t.Context()) {
		if !errors.Is(err, core.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	}
}

// TestSweepScratch removes what an examination left that was killed, as it does all
// that nobody here knows.
func TestSweepScratch(t *testing.T) {
	m, now := newMemory(), time.Now()
	m.before = refuse(core.ErrDenied, "delete", "abort")
	examine(t, m, core.Env{})
	m.before = nil
	a := open(t, m, core.Env{StateDir: t.TempDir(), Now: func() time.Time { return now }})
	for _, want := range []int{2, 0} {
		for l, err := range a.Sweep(t.Context(), nil) {
			if err != nil || l.ID == "" || l.Removed != (want == 0) {
				t.Errorf("%+v, %v", l, err)
			}
		}
		if got := len(m.keys()) + len(m.uploads); got != want {
			t.Errorf("%d are left, want %d", got, want)
		}
		now = now.Add(sightings)
	}
}

// TestRetryExplains hands on what its Store explains.
func TestRetryExplains(t *testing.T) {
	m := newMemory()
	inner := explained{m, []core.Finding{{What: "versions", Verdict: core.VerdictOK}}, nil}
	s := Retry(inner, core.Env{}).(Explainer)
	if found, err := s.Settings(t.Context()); err != nil || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
	if right := s.Right(&core.Error{Kind: core.ErrDenied, Err: lack("mem:put")}); right != "mem:put" {
		t.Errorf("the right is %q", right)
	}
	silent := Retry(m, core.Env{}).(Explainer)
	if found, err := silent.Settings(t.Context()); err != nil || found != nil || silent.Right(core.ErrDenied) != "" {
		t.Errorf("a Store that explains nothing: %v, %v", found, err)
	}
}
