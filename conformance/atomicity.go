package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// Section C: all or nothing. C05, that a failed replacement leaves the old bytes,
// is left out: nothing is ever replaced.
func atomicity() []Case {
	const nothing = "An upload that is interrupted at any instant, by whatever means, leaves nothing that List, Get or Open shows."
	return []Case{
		{
			ID: "C01", Words: "invisible_while_writing", Level: Short, run: invisible,
			Clause: "A backup exists at an agent when, and only when, its metadata document is there.",
			Why:    "half an archive under its final name was counted by retention and offered for restore",
		}, {
			ID: "C02", Words: "source_error", Level: Short, run: sourceError,
			Clause: "An error of the source is returned so that errors.Is finds it, and nothing becomes visible.",
			Why:    "writers that commit when they are closed stored what came before the error as a whole",
		}, {
			ID: "C03", Words: "short_source", Level: Short, run: shortSource,
			Clause: "A source that ends before the size of its metadata, goes on after it, or does not match its checksums answers ErrChanged.",
			Why:    "an archive that was cut, or padded with zeros, was stored as a success",
		}, {
			ID: "C04", Words: "long_source", Level: Short, run: longSource,
			Clause: "A source that ends before the size of its metadata, goes on after it, or does not match its checksums answers ErrChanged.",
			Why:    "what lies past the promised size was dropped without a word",
		}, {
			ID: "C06", Words: "cancel_sweep", Level: Core, run: cancelSweep,
			Clause: "A call whose context has ended returns context.Cause within two seconds even on a dead connection, and one that is called with an ended context asks the place nothing.",
			Why:    "objects appeared seconds after their upload was cancelled and reported as failed",
		}, {
			ID: "C10", Words: "attempt_race", Level: Short, run: attemptRace, Clause: nothing,
			Why: "the late cleanup of a first attempt deleted what the second had stored",
		}, {
			ID: "C11", Words: "temporary_names", Level: Short, run: temporaryNames,
			Clause: "All methods may be called from several goroutines at once, and several processes may use one place at the same time.",
			Why:    "two uploads of equal size in the same second wrote into one temporary file",
		},
	}
}

// offsets are where a source is stopped: its ends and the edges of a part.
func (t *trial) offsets() (size int64, offs []int64) {
	part := t.target.Limits.PartSize
	if t.target.Short && part > largePart {
		return 300_000, []int64{0, 1, 150_000, 299_999}
	}
	size = part + part/2
	return size, []int64{0, 1, part - 1, part, part + 1, size - 1}
}

func invisible(t *trial) {
	ns := t.place()
	a, other := t.open(ns), t.open(ns)
	kept := t.stored(a, 10)
	size, offs := t.offsets()
	for _, off := range offs {
		s := t.source(size)
		reached, release := s.holdAt(off)
		defer release()
		t.did("the source stops %s", at(off, size))
		ended := make(chan error, 1)
		go func() { ended <- t.upload(t.ctx, a, s) }()
		t.reads(reached, ended)
		for _, looks := range []core.Agent{a, other} {
			t.absent(looks, s.draft.ID)
		}
		t.seal(a, other, s, release, ended)
	}
	t.same(other, kept)
}

// seal lets an upload read to the end and holds its metadata back, looks that
// nothing is visible, and lets it finish.
func (t *trial) seal(a, other core.Agent, s *source, release func(), ended chan error) {
	come, free := make(chan struct{}, 100), make(chan struct{})
	s.holdSeal(come, free)
	release()
	until(t, "the agent asks for the metadata", come)
	t.did("all bytes are there, the metadata is not")
	t.absent(other, s.draft.ID)
	close(free)
	if err := until(t, "the upload ends", ended); err != nil {
		t.fail("the upload succeeds", "%v", err)
	}
	t.same(other, s)
}

func sourceError(t *trial) {
	ns := t.place()
	a, other := t.open(ns), t.open(ns)
	size, offs := t.offsets()
	for _, off := range offs {
		for _, broken := range sourceErrors("the source breaks " + at(off, size)) {
			s := t.source(size)
			s.failingAt(off, broken)
			t.breaks(a, other, s, broken)
		}
	}
	s := t.source(size)
	for _, broken := range sourceErrors("the archive was never sealed") {
		s.sealing = func(context.Context) error { return broken }
		t.breaks(a, other, s, broken)
	}
	s.sealing = nil
	t.did("the same once more, and it holds")
	t.store(a, s)
	t.same(other, s)
}

// sourceErrors are an error of nobody's kind and one that has a kind of ours, as
// that of a file that changed, which an agent must not take for its own.
func sourceErrors(what string) []error {
	return []error{errors.New(what), core.Errorf(core.ErrChanged, "%s", what)}
}

// breaks uploads a source that breaks, and demands its very error and nothing
// stored.
func (t *trial) breaks(a, other core.Agent, s *source, broken error) {
	t.did("%v (%T)", broken, broken)
	if err := t.upload(t.ctx, a, s); !errors.Is(err, broken) {
		t.fail("the source's own error", "%v", err)
	}
	t.absent(other, s.draft.ID)
}

func shortSource(t *trial) {
	a := t.open(t.place())
	size, _ := t.offsets()
	for _, gives := range []int64{0, 1, size / 2, size - 1} {
		s := t.source(size)
		s.gives = content{s.seed, gives}
		t.did("a source of %d bytes gives %d", size, gives)
		t.within("an upload of a source that has ended", func() { t.kind(t.upload(t.ctx, a, s), core.ErrChanged) })
		t.absent(a, s.draft.ID)
	}
}

func longSource(t *trial) {
	a := t.open(t.place())
	size, _ := t.offsets()
	for _, over := range []int64{1, 1000} {
		for _, n := range []int64{0, size} {
			s := t.source(n)
			s.gives = content{s.seed, n + over}
			t.did("a source of %d bytes gives %d", n, n+over)
			t.kind(t.upload(t.ctx, a, s), core.ErrChanged)
			t.absent(a, s.draft.ID)
		}
	}
}

func cancelSweep(t *trial) {
	ns := t.place()
	a, other := t.open(ns), t.open(ns)
	size, offs := t.offsets()
	var ids []core.ID
	for _, off := range offs {
		s := t.source(size)
		reached, release := s.holdAt(off)
		defer release()
		t.did("cancelled while the source stops %s", at(off, size))
		t.cancelled(a, s, reached)
		release() // a dropped agent that still reads gets bytes, not an error
		ids = append(ids, s.draft.ID)
	}
	s := t.source(size)
	come, free := make(chan struct{}, 100), make(chan struct{})
	defer close(free)
	s.holdSeal(come, free)
	t.did("cancelled while the metadata is waited for")
	t.cancelled(a, s, come)
	t.stays(other, append(ids, s.draft.ID), 5*time.Second)
}

// holdSeal makes Backup say that it was called and wait for free. An upload may be
// running.
func (s *source) holdSeal(come chan<- struct{}, free <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealing = func(ctx context.Context) error {
		select {
		case come <- struct{}{}:
		default:
		}
		select {
		case <-free:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// cancelled begins an upload, cancels it once reached is, and demands the cause.
func (t *trial) cancelled(a core.Agent, s *source, reached <-chan struct{}) {
	ctx, cancel := context.WithCancelCause(t.ctx)
	cause := errors.New("the suite cancelled it")
	ended := make(chan error, 1)
	go func() { ended <- t.upload(ctx, a, s) }()
	t.reads(reached, ended)
	cancel(cause)
	t.within("a cancelled upload", func() {
		if err := until(t, "the upload ends", ended); !errors.Is(err, cause) {
			t.fail("the cause of the cancel", "%v", err)
		}
	})
	t.absent(a, s.draft.ID)
}

func attemptRace(t *trial) {
	ns := t.place()
	one, two := t.open(ns), t.open(ns)
	size, offs := t.offsets()
	for i, end := range []error{errors.New("the source breaks at last"), nil, errors.New("the suite cancelled it")} {
		first := t.source(size)
		reached, release := first.holdAt(offs[len(offs)/2])
		defer release()
		held := first.before
		first.before = func(ctx context.Context, n int64) error {
			if err := held(ctx, n); err != nil || i != 0 || n <= offs[len(offs)/2] {
				return err
			}
			return end
		}
		ctx, cancel := context.WithCancelCause(t.ctx)
		t.did("attempt 1 stalls in the middle, attempt 2 of the same goes through, attempt 1 ends with: %v", end)
		ended := make(chan error, 1)
		go func() { ended <- t.upload(ctx, one, first) }()
		t.reads(reached, ended)
		second := sourceOf(first.draft.ID, first.draft.Created, first.content)
		done := make(chan error, 1)
		go func() { done <- t.upload(t.ctx, two, second) }()
		// An agent may make the second wait for the first.
		err, waited := soon(done)
		if i == 2 {
			cancel(end)
		}
		release()
		firstErr := until(t, "attempt 1 ends", ended)
		cancel(nil)
		if waited {
			err = until(t, "attempt 2 ends", done)
		}
		if err != nil {
			t.fail("attempt 2 succeeds", "%v", err)
		}
		if end == nil && firstErr != nil {
			t.fail("attempt 1 succeeds too, because its bytes are the same", "%v", firstErr)
		}
		t.same(one, second)
		t.same(t.open(ns), second)
	}
}

// soon waits a little for an answer, and says whether none came.
func soon(done <-chan error) (err error, waited bool) {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case err = <-done:
		return err, false
	case <-timer.C:
		return nil, true
	}
}

func temporaryNames(t *trial) {
	ns := t.place()
	agents := []core.Agent{t.open(ns), t.open(ns)}
	const n = 20
	all := make([]*source, n)
	for i := range all {
		all[i] = t.source(100_000)
		all[i].draft.Created = all[0].draft.Created
	}
	t.did("%d uploads at once of equal size and time, over two connections", n)
	t.parallel(n, func(i int) {
		if err := t.upload(t.ctx, agents[i%2], all[i]); err != nil {
			t.fail("every upload succeeds", "%v", err)
		}
	})
	for _, s := range all {
		t.same(agents[0], s)
	}
	t.lists(agents[1], all...)
}
