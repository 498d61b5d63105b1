package conformance

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/offsite-backup/offsite/core"
)

// Section F: what an error says.
func failures() []Case {
	const kinds = "They answer errors.Is with one of the kinds of this package, name agent, operation and id, keep the provider's code and request id, wrap their cause, and hold no secret."
	return []Case{
		{
			ID: "F01", Words: "not_found", Level: Short, run: notFound,
			Clause: "ErrNotFound says that there is no such backup;",
			Why:    "who cannot tell missing from unreachable uploads everything again, or gives up a good copy",
		}, {
			ID: "F02", Words: "denied_is_not_missing", Level: Short, Needs: []Means{MeansFaulty}, run: denied, Clause: kinds,
			Why: "a right that was lost looked like an empty place, and everything was copied or pruned",
		}, {
			ID: "F04", Words: "context_in_text", Level: Short, run: contextInText, Clause: kinds,
			Why: "an error in the morning's log has to say which place, which backup and why",
		}, {
			ID: "F05", Words: "no_secrets", Level: Short, Needs: []Means{MeansSecrets}, run: noSecrets, Clause: kinds,
			Why: "logs and tickets are read by many, and passwords in them are used",
		}, {
			ID: "F08", Words: "never_nil_nil", Level: Short, Needs: []Means{MeansFaulty}, run: neverNilNil, Clause: kinds,
			Why: "no result and no error is a crash in the caller, or an empty file",
		},
	}
}

func notFound(t *trial) {
	a := t.open(t.place())
	for range 2 {
		missing := t.source(1).draft.ID
		t.did("calls for an id that is not there")
		for name, err := range t.everyCall(a, t.ctx, missing, t.source(1)) {
			if name == "Get" || name == "Open" || name == "Delete" {
				t.onlyNotFound(name, err)
			}
		}
	}
}

func (t *trial) onlyNotFound(name string, err error) {
	if err == nil {
		t.fail(name+" answers ErrNotFound", "no error")
	}
	t.kind(err, core.ErrNotFound)
	if !errors.Is(err, fs.ErrNotExist) {
		t.fail(name+" answers fs.ErrNotExist too", "%v", err)
	}
	for _, other := range []core.ErrorKind{core.ErrNoPlace, core.ErrDenied, core.ErrUnavailable, core.ErrDamaged} {
		if errors.Is(err, other) {
			t.fail(name+" answers ErrNotFound alone", "also %q: %v", other, err)
		}
	}
}

func denied(t *trial) {
	ns := t.place()
	var rec recorder
	a := t.openFaulty(ns, rec.gate)
	s := t.stored(a, 1000)
	t.dir += "x" // nothing remembered
	a = t.openFaulty(ns, rec.gate)
	for _, what := range []string{"Get", "Open", "List", "Delete", "Upload"} {
		rec.set(func(int, Step) Fault { return Denied })
		for name, err := range t.everyCall(a, t.ctx, s.draft.ID, t.source(1000)) {
			if name != what {
				continue
			}
			t.did("%s, with every step denied", name)
			t.kind(err, core.ErrDenied)
			if errors.Is(err, fs.ErrNotExist) || !errors.Is(err, fs.ErrPermission) {
				t.fail(name+" answers fs.ErrPermission", "%v", err)
			}
		}
		rec.shot(t, "every step is denied, "+what)
	}
	rec.set(nil)
	t.same(t.open(ns), s)
}

func contextInText(t *trial) {
	a := t.open(t.place())
	s, missing := t.stored(a, 100), t.source(1).draft.ID
	errs := map[string]error{}
	_, errs["get"] = a.Get(t.ctx, missing)
	_, errs["open"] = a.Open(t.ctx, missing)
	errs["delete"] = a.Delete(t.ctx, missing)
	other := sourceOf(s.draft.ID, s.draft.Created, content{1, 99})
	errs["upload"] = t.upload(t.ctx, a, other)
	for _, op := range []string{"get", "open", "delete", "upload"} {
		id := missing
		if op == "upload" {
			id = s.draft.ID
		}
		t.did("the error of %s", op)
		t.names(errs[op], op, id)
	}
	broken := errors.New("the source breaks")
	bad := t.source(100)
	bad.failingAt(0, broken)
	t.did("the error of an upload whose source breaks")
	if err := t.upload(t.ctx, a, bad); !errors.Is(err, broken) {
		t.fail("the cause is wrapped", "%v", err)
	}
}

func (t *trial) names(err error, op string, id core.ID) {
	if err == nil {
		t.fail("an error", "none")
	}
	var e *core.Error
	if !errors.As(err, &e) {
		t.fail("a *core.Error", "%T: %v", err, err)
	}
	if e.Agent != agentName || e.Op != op || e.ID != id {
		t.fail(fmt.Sprintf("agent %q, operation %q, id %q", agentName, op, id), "agent %q, operation %q, id %q", e.Agent, e.Op, e.ID)
	}
	for _, word := range []string{agentName, op, string(id), string(e.Kind)} {
		if !strings.Contains(err.Error(), word) {
			t.fail(fmt.Sprintf("a text with %q", word), "%s", err)
		}
	}
	if n := strings.Count(err.Error(), string(id)); n > 3 {
		t.fail("a text that says each thing once", "%s", err)
	}
}

func noSecrets(t *trial) {
	ns := t.place()
	agents := map[string]core.Agent{"well": t.open(ns)}
	if t.target.OpenFaulty != nil {
		for _, f := range []Fault{Broken, Denied, NoSpace} {
			agents[string(f)] = t.openFaulty(ns, func(Step) Fault { return f })
		}
	}
	closed := t.open(ns)
	if err := closed.Close(); err != nil {
		t.fail("Close succeeds", "%v", err)
	}
	agents["closed"] = closed
	var said []string
	for _, state := range []string{"well", string(Broken), string(Denied), string(NoSpace), "closed"} {
		a, ok := agents[state]
		if !ok {
			continue
		}
		for _, err := range t.everyCall(a, t.ctx, t.source(1).draft.ID, t.source(10)) {
			said = append(said, fmt.Sprintf("%+v", err))
		}
		said = append(said, a.Name())
	}
	t.mu.Lock()
	said = append(said, t.log.String())
	t.mu.Unlock()
	t.did("every error of every call on a place that is well, broken, denied or full; the log and the name")
	for _, secret := range t.target.Secrets {
		for _, text := range said {
			if strings.Contains(text, secret) {
				t.fail("no secret in any text", "%s", strings.ReplaceAll(clip(text), secret, "SECRET"))
			}
		}
	}
}

func clip(text string) string { return text[:min(len(text), 300)] }

func neverNilNil(t *trial) {
	ns := t.place()
	s := t.stored(t.open(ns), 1000)
	var rec recorder
	t.openFaulty(ns, rec.gate)
	for _, fault := range []Fault{Broken, Denied} {
		for _, k := range []int{0, 1, 2, 3, 5, 8} {
			t.dir += "x" // nothing remembered
			a := t.openFaulty(ns, rec.gate)
			t.did("each call, with every step from number %d %s", k, fault)
			t.either(a, s, &rec, func() { rec.set(from(k, fault, anyStep)) })
			rec.set(nil)
		}
	}
}

// either makes each call that has a result, after arm, and demands a result or an
// error.
func (t *trial) either(a core.Agent, s *source, rec *recorder, arm func()) {
	arm()
	b, err := a.Get(t.ctx, s.draft.ID)
	if err == nil {
		t.equal(s.stored(), b, "Get without an error")
	}
	arm()
	archive, err := a.Open(t.ctx, s.draft.ID)
	if (err == nil) == (archive == nil) {
		t.fail("Open returns an archive or an error", "%v and %v", archive, err)
	}
	if err == nil {
		size, sum, err := t.span(archive, 0, -1)
		if err == nil && (size != s.size || sum != s.seal().SHA256) {
			t.fail("a read gives all bytes or an error", "%d of %d bytes and no error", size, s.size)
		}
		_ = archive.Close() // may fail with the place
	}
	arm()
	entries := t.entries(a)
	if len(entries) == 0 && slices.ContainsFunc(rec.seen(), anyStep) {
		t.fail("List yields the backup or an error", "nothing")
	}
	for _, e := range entries {
		if e.err == nil {
			t.equal(s.stored(), e.Backup, "an entry without an error")
		}
	}
}
