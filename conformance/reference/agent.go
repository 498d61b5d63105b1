package reference

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

// The sizes of the reference agent: small, so that every case meets their edges.
const (
	PartSize = 64 << 10
	Page     = 7
)

// An agent is the reference: one connection to a place.
type agent struct {
	name   string
	prefix string // of every key, with a slash at its end
	ask    roundTrip
	hangUp func() // ends connections
	gate   conformance.Gate
	now    func() time.Time
	state  string // the file with what sweeps saw; "" for none
	tokens func() string
	total  time.Duration // of one upload; 0 means no bound

	life context.Context // ends with Close
	end  context.CancelCauseFunc
	mu   sync.Mutex
	shut bool
	runs sync.WaitGroup
}

// Name is core.Agent's.
func (a *agent) Name() string { return a.name }

// begin starts a call: its context ends with the caller's and with Close.
func (a *agent) begin(ctx context.Context) (context.Context, func(), error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.shut {
		return nil, nil, core.ErrClosed
	}
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	a.runs.Add(1)
	ctx, cancel := a.bound(ctx)
	return ctx, func() { cancel(); a.runs.Done() }, nil
}

// bound is ctx, which ends with Close too.
func (a *agent) bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(a.life, func() { cancel(context.Cause(a.life)) })
	return ctx, func() { stop(); cancel(nil) }
}

// Close is core.Agent's.
func (a *agent) Close() error {
	a.mu.Lock()
	a.shut = true
	a.mu.Unlock()
	a.end(core.ErrClosed)
	a.runs.Wait()
	a.hangUp()
	return nil
}

// call runs f as one call for one id, and gives its error a name.
func (a *agent) call(ctx context.Context, op string, id core.ID, f func(context.Context) error) error {
	if err := id.Validate(); err != nil {
		return a.named(op, id, err)
	}
	ctx, done, err := a.begin(ctx)
	if err != nil {
		return a.named(op, id, err)
	}
	defer done()
	return a.named(op, id, f(ctx))
}

// named says where an error comes from. What has no kind is the caller's own.
func (a *agent) named(op string, id core.ID, err error) error {
	kind := core.KindOf(err)
	if err == nil || kind == "" {
		return err
	}
	if e := (*core.Error)(nil); errors.As(err, &e) && e.Agent != "" {
		return err
	}
	if id.Validate() != nil {
		id = ""
	}
	e := &core.Error{Kind: kind, Agent: a.name, Op: op, ID: id, Err: err}
	if r := (*refusal)(nil); errors.As(err, &r) {
		e.Code, e.RequestID, e.RetryAfter = r.code, r.requestID, r.after
	}
	return e
}

// step asks the gate and then the place.
func (a *agent) step(ctx context.Context, s conformance.Step, q request) (response, error) {
	if ctx.Err() != nil {
		return response{}, context.Cause(ctx)
	}
	if err := a.pass(s); err != nil {
		return response{}, err
	}
	key := q.Key
	q.Key = a.prefix + key
	r := a.ask(ctx, q)
	sizes := map[string]int64{}
	for i, k := range r.Keys {
		r.Keys[i] = strings.TrimPrefix(k, a.prefix)
		if n, told := r.Sizes[k]; told {
			sizes[r.Keys[i]] = n
		}
	}
	r.Sizes = sizes
	switch {
	case r.Err != nil && ctx.Err() != nil:
		return r, context.Cause(ctx)
	case r.Err != nil:
		return r, fmt.Errorf("%s: %w", key, r.Err)
	}
	return r, nil
}

// pass asks the gate and says of a fault what a place would.
func (a *agent) pass(s conformance.Step) error {
	switch a.gate(s) {
	case conformance.NoFault:
		return nil
	case conformance.NoSpace:
		return fmt.Errorf("%s: %w", s.Key, core.ErrNoSpace)
	case conformance.Denied:
		return fmt.Errorf("%s: %w", s.Key, core.ErrDenied)
	default:
		return fmt.Errorf("%s: %w", s.Key, core.ErrUnavailable)
	}
}

func metaKey(id core.ID) string { return "meta/" + string(id) + ".json" }
func goneKey(id core.ID) string { return "gone/" + string(id) }

// idOf is the id of a metadata key, if it is one.
func idOf(key string) (core.ID, bool) {
	name, ok := strings.CutPrefix(key, "meta/")
	name, json := strings.CutSuffix(name, ".json")
	id, err := core.ParseID(name)
	return id, ok && json && err == nil
}

// archiveOf is the id of an archive's key, if it is one.
func archiveOf(key string) (core.ID, bool) {
	name, ok := strings.CutPrefix(key, "data/")
	base, ext, _ := strings.Cut(name, ".")
	if ext != "" {
		ext = "." + ext
	}
	want, err := core.ArchiveKey(core.ID(base), ext)
	return core.ID(base), ok && err == nil && want == key
}

// keys yields all keys that begin with prefix, page by page.
func (a *agent) keys(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for page, err := range a.pages(ctx, prefix) {
			for _, k := range page.Keys {
				if !yield(k, nil) {
					return
				}
			}
			if err != nil {
				yield("", err)
				return
			}
		}
	}
}

// pages are those of a list. One may be empty and not the last.
func (a *agent) pages(ctx context.Context, prefix string) iter.Seq2[response, error] {
	return func(yield func(response, error) bool) {
		after := ""
		for {
			r, err := a.step(ctx, conformance.Step{Op: conformance.StepList, Key: prefix}, request{Op: list, Key: prefix, After: after, Max: Page})
			if err == nil && r.More && (r.Next == "" || r.Next == after) {
				err = core.Errorf(core.ErrUnavailable, "a page of the list is not the last, and does not say where the next one begins")
			}
			if !yield(r, err) || err != nil || !r.More {
				return
			}
			after = r.Next
		}
	}
}

// Delete is core.Agent's.
func (a *agent) Delete(ctx context.Context, id core.ID) error {
	return a.call(ctx, "delete", id, func(ctx context.Context) error {
		if _, err := a.stat(ctx, metaKey(id)); err != nil {
			return err
		}
		err := a.create(ctx, goneKey(id), []byte(a.now().UTC().Format(time.RFC3339)))
		if err != nil && !errors.Is(err, core.ErrExists) {
			return err
		}
		return a.removeBackup(ctx, id)
	})
}

// removeBackup removes metadata and then every archive of an id: which of them
// the metadata names may be unknown.
func (a *agent) removeBackup(ctx context.Context, id core.ID) error {
	if err := a.remove(ctx, metaKey(id)); err != nil {
		return err
	}
	for key, err := range a.keys(ctx, "data/"+string(id)) {
		if err != nil {
			return err
		}
		if of, ok := archiveOf(key); ok && of == id {
			if err := a.remove(ctx, key); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *agent) remove(ctx context.Context, key string) error {
	_, err := a.step(ctx, conformance.Step{Op: conformance.StepRemove, Key: key}, request{Op: remove, Key: key})
	return err
}

func (a *agent) stat(ctx context.Context, key string) (response, error) {
	return a.step(ctx, conformance.Step{Op: conformance.StepRead, Key: key}, request{Op: stat, Key: key})
}

// create makes a small object, as a file would be made.
func (a *agent) create(ctx context.Context, key string, data []byte) error {
	temp := "tmp/" + a.tokens()
	for _, s := range []conformance.Step{
		{Op: conformance.StepCreate, Key: temp}, {Op: conformance.StepWrite, Key: temp, Size: len(data)},
		{Op: conformance.StepSync, Key: temp}, {Op: conformance.StepClose, Key: temp},
	} {
		if err := a.pass(s); err != nil {
			return err
		}
	}
	_, err := a.step(ctx, conformance.Step{Op: conformance.StepPublish, Key: key, From: temp}, request{Op: put, Key: key, Data: data, Sums: []core.CRC64{sumOf(data)}, Mode: fileMode})
	if err != nil {
		return err
	}
	return a.syncDir(key)
}

func (a *agent) syncDir(key string) error {
	dir, _, _ := strings.Cut(key, "/")
	return a.pass(conformance.Step{Op: conformance.StepSyncDir, Key: dir})
}
