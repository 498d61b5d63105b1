package object

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
)

// Examine tries with scratch objects what uploads, lists, restores and deletes need.
func (a *Agent) Examine(ctx context.Context) iter.Seq2[core.Finding, error] {
	return func(yield func(core.Finding, error) bool) {
		c, err := a.begin(ctx, opExamine, "")
		if err != nil {
			yield(core.Finding{}, err)
			return
		}
		defer c.end()
		e := &examination{call: c, yield: yield}
		if err := e.run(); err != nil && !errors.Is(err, errEnough) {
			yield(core.Finding{}, e.error(err))
		}
	}
}

// An examination is one Examine.
type examination struct {
	*call
	yield func(core.Finding, error) bool

	key      string        // of the scratch object
	partsKey string        // of the one in parts
	absent   bool          // whether the place was not there
	unlisted bool          // whether it cannot be listed
	timed    bool          // whether its clock was seen
	stored   bool          // whether the scratch object is there
	fresh    bool          // whether this examination stored it
	ahead    time.Duration // of this machine's clock, as far as was seen
	earlier  []Object      // scratch objects of others
	reused   bool          // whether the scratch object is one of them
	open     Multipart
	parted   bool // whether it has a part
}

// errEnough ends an examination: the caller has left, or nothing more can be found.
var errEnough = errors.New("enough")

// scratchText is what a person reads who finds a scratch object.
const scratchText = "offsite looked here whether it may store and remove objects. This one can be removed.\n"

// scratchStays is how old a scratch object is that nobody examines the place by any
// more.
const scratchStays = time.Hour

func (e *examination) run() error {
	id, err := core.NewID(e.agent.env.Now(), e.agent.env.Chance)
	if err != nil {
		return err
	}
	e.key, e.partsKey = scratchKey(id), scratchKey(id+"-parts")
	defer e.tidy()
	for _, step := range []func() error{e.look, e.write, e.list, e.read, e.parts, e.remove, e.settings} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// tidy removes what an examination that ended early has stored.
func (e *examination) tidy() {
	later, cancel := context.WithTimeout(context.WithoutCancel(e), time.Second)
	defer cancel()
	if e.open != nil {
		_ = e.open.Abort(later) // a sweep finds it
	}
	if e.stored && !e.reused {
		_ = e.agent.store.Delete(later, e.key)
	}
}

// look finds what others left. One that is old is the scratch object of this examination
// too: where nothing may be removed there will never be two.
func (e *examination) look() error {
	for o, err := range e.agent.store.List(e, ScratchPrefix, "") {
		if e.absent = errors.Is(err, core.ErrNoPlace); e.absent {
			return nil // an upload may make it
		}
		if e.unlisted = err != nil; err != nil {
			return e.tell("list", err)
		}
		id := scratchID(o.Key)
		if id == "" {
			continue
		}
		e.earlier = append(e.earlier, o)
		at, _ := id.Time()
		if !e.reused && (e.old(o) || e.agent.env.Now().Sub(at) > scratchStays) {
			e.key, e.reused = o.Key, true
		}
	}
	return nil
}

// old says whether nobody examines the place by a scratch object any more: by the date
// that the place gave it, and the clock of the place as soon as that was seen.
func (e *examination) old(o Object) bool {
	return e.agent.env.Now().Add(e.ahead).Sub(o.Modified) > scratchStays
}

func (e *examination) write() error {
	asked := e.agent.env.Now()
	o, err := e.agent.store.Put(e, e.key, scratchBody(), scratchSum())
	e.fresh = err == nil
	if errors.Is(err, core.ErrExists) {
		o, err = e.agent.store.Stat(e, e.key)
	}
	e.stored = err == nil
	if e.stored && e.absent {
		if err := e.say(core.Finding{What: "place", Verdict: core.VerdictNote, Why: "it was not there and was made, as the first upload does"}); err != nil {
			return err
		}
	}
	if err == nil {
		err = e.writable()
	}
	if err := e.tell("write", err); err != nil || !e.fresh {
		return err
	}
	return e.clock(o.Modified, asked)
}

// writable looks where backups are, which may have other rights than the scratch object.
func (e *examination) writable() error {
	store, ok := e.agent.store.(Writability)
	if !ok {
		return nil
	}
	if err := store.Writable(e, dataPrefix); err != nil {
		return err
	}
	return store.Writable(e, metaPrefix)
}

// list looks for the scratch object, and at what is first where backups are. It is there
// too where a place took it and did not let it be looked at.
func (e *examination) list() error {
	if e.unlisted {
		return nil
	}
	listed := false
	for o, err := range e.agent.store.List(e, ScratchPrefix, "") {
		if err != nil {
			return e.tell("list", err)
		}
		listed = listed || o.Key == e.key
	}
	if e.stored && !e.reused && !listed {
		return e.tell("list", core.Errorf(core.ErrUnavailable, "%s was stored and is not listed", e.key))
	}
	e.stored = listed
	for _, prefix := range []string{dataPrefix, metaPrefix} {
		for _, err := range e.agent.store.List(e, prefix, "") {
			if err != nil {
				return e.tell("list", err)
			}
			break
		}
	}
	return e.tell("list", nil)
}

// read reads the scratch object back. Where there is none, to be told so takes the
// same right.
func (e *examination) read() error {
	o, err := e.agent.store.Stat(e, e.key)
	if (!e.stored || e.reused) && errors.Is(err, core.ErrNotFound) {
		err = nil
	} else if err == nil {
		err = e.same(o)
	}
	return e.tell("read", err)
}

func (e *examination) same(o Object) error {
	r, err := e.agent.store.Range(e, o, 0, o.Size)
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err == nil && e.fresh && string(got) != scratchText {
		err = core.Errorf(core.ErrDamaged, "%s does not hold what was stored", o.Key)
	}
	return err
}

// parts begins an upload in parts, finds it again as one that goes on would, and
// removes it.
func (e *examination) parts() error {
	asked := e.agent.env.Now()
	if err := e.tell("write parts", e.begin()); err != nil {
		return err
	}
	if err := e.find(asked); err != nil || e.open == nil {
		return err
	}
	_, err := e.open.Parts(e)
	if err := e.tell("list parts", err); err != nil {
		return err
	}
	err = e.open.Abort(e)
	denied := errors.Is(err, core.ErrDenied)
	if err == nil || denied {
		e.open = nil
	}
	if !denied {
		return e.tell("abort uploads", err)
	}
	f := e.finding("abort uploads", err)
	f.Verdict, f.Why = core.VerdictWarning, "parts of uploads that were interrupted stay, unseen and paid for, and so do those of this look"
	f.Do += ", or let a lifecycle of the place remove unfinished uploads"
	return e.say(f)
}

func (e *examination) begin() error {
	token, err := e.agent.newToken()
	if err != nil {
		return err
	}
	m, err := e.agent.store.Begin(e, e.partsKey, token)
	if err != nil {
		return err
	}
	e.open = m
	err = m.Put(e, Part{Size: int64(len(scratchText)), CRC64: scratchSum()}, scratchBody())
	e.parted = err == nil
	return err
}

func (e *examination) find(asked time.Time) error {
	var found Multipart
	for m, err := range e.agent.store.Multiparts(e, e.partsKey) {
		if err != nil {
			return e.tell("find uploads", err)
		}
		if m.Key() == e.partsKey {
			found = m
		}
	}
	if e.parted && found == nil { // without a part, not every place has it
		return e.say(core.Finding{What: "find uploads", Verdict: core.VerdictNote, Why: "an upload that was begun cannot be found again: one that is interrupted begins anew"})
	}
	if err := e.tell("find uploads", nil); err != nil || found == nil {
		return err
	}
	return e.clock(found.Started(), asked)
}

// remove removes the scratch object, and those of others that are old. Who may not delete
// may do without.
func (e *examination) remove() error {
	for _, o := range e.earlier {
		switch {
		case o.Key == e.key && !e.old(o):
			e.stored = false
			return e.say(core.Finding{What: "delete", Verdict: core.VerdictNote, Why: "not tried: by the clock of the place somebody may be looking at it just now, by " + e.key})
		case o.Key != e.key && e.old(o):
			_ = e.agent.store.Delete(e, o.Key) // a sweep finds it
		}
	}
	if !e.stored {
		return nil
	}
	err := e.agent.store.Delete(e, e.key)
	e.stored = e.Err() != nil // else a second try changes nothing
	if !errors.Is(err, core.ErrDenied) && !errors.Is(err, core.ErrLocked) {
		return e.tell("delete", err)
	}
	f := e.finding("delete", err)
	f.Verdict, f.Why = core.VerdictNote, "backups are made, listed and restored without it, and what interrupted uploads leave stays, as "+e.key+" does"
	if f.Do != "" {
		f.Do = "if that is not meant: " + f.Do
	}
	return e.say(f)
}

func (e *examination) settings() error {
	x, ok := e.agent.store.(Explainer)
	if !ok {
		return nil
	}
	found, err := x.Settings(e)
	for _, f := range found {
		if err := e.say(f); err != nil {
			return err
		}
	}
	if err == nil || e.Err() != nil {
		return err
	}
	f := e.finding("settings", err)
	f.Verdict = core.VerdictWarning
	return e.say(f)
}

// tell says how something went. What concerns the place as a whole is said once, and
// ends the examination.
func (e *examination) tell(what string, err error) error {
	if err == nil {
		return e.say(core.Finding{What: what, Verdict: core.VerdictOK})
	}
	if e.Err() != nil {
		return err
	}
	f := e.finding(what, err)
	if err := e.say(f); err != nil {
		return err
	}
	switch core.KindOf(f.Err) {
	case core.ErrUnauthenticated, core.ErrUnavailable, core.ErrThrottled, core.ErrClock, core.ErrNoPlace, "":
		return errEnough
	}
	return nil
}

func (e *examination) finding(what string, err error) core.Finding {
	f := core.Finding{What: what, Verdict: core.VerdictFailed, Err: e.nameless(err)}
	if x, ok := e.agent.store.(Explainer); ok && errors.Is(err, core.ErrDenied) {
		f.Right = x.Right(err)
	}
	if f.Right != "" {
		f.Do = "grant " + f.Right
	}
	return f
}

// nameless is an error of this call without the names of agent and operation, which
// stand beside it.
func (e *examination) nameless(err error) error {
	err = e.error(err)
	var named *core.Error
	if !errors.As(err, &named) {
		return err
	}
	plain := *named
	plain.Agent, plain.Op = "", ""
	return &plain
}

func (e *examination) say(f core.Finding) error {
	if !e.yield(f, nil) {
		return errEnough
	}
	return nil
}

func scratchBody() *io.SectionReader {
	return io.NewSectionReader(strings.NewReader(scratchText), 0, int64(len(scratchText)))
}

func scratchSum() core.CRC64 { return core.CRC64(crc64nvme.Checksum([]byte(scratchText))) }
