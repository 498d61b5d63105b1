package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/archive"
)

// Run makes one backup of a job: it runs the hooks, packs once, and stores the
// archive at every agent. The error is that of a failed run; a degraded one
// answers nil and says so in the report.
func (p *Platform) Run(ctx context.Context, job Job) (Report, error) {
	began := p.now()
	r := &run{Platform: p, job: job}
	err := r.prepare(began)
	if err == nil {
		err = r.do(ctx)
	}
	if err != nil {
		r.report.Outcome, r.report.Err = core.Failed, err
	}
	// Who asked for what cannot be, or again, hears that from the command.
	if err != nil && !r.told && !errors.Is(err, core.ErrInvalid) && !errors.Is(err, ErrBusy) {
		r.tell(ctx)
	}
	r.report.Took = p.now().Sub(began)
	return r.report, err
}

// untidy notes what went wrong around a backup after it was stored or was not:
// the next command clears up, and the backup is no worse for it.
func (r *Report) untidy(err error) {
	if err == nil {
		return
	}
	r.Err = errors.Join(r.Err, err)
	if r.Outcome == core.OK {
		r.Outcome = core.Degraded
	}
}

func (p *Platform) now() time.Time { return p.Env.WithDefaults().Now() }

// A run is one execution of a job.
type run struct {
	*Platform
	job    Job
	draft  core.Backup
	entry  *entry
	spool  *spool
	dirs   map[string]string // the hooks' directories, by their names in the archive
	dumped int64             // bytes in them
	left   error             // what went wrong on this machine besides, such as what is left here
	report Report
	told   bool // whether hooks were told how it went

	keeping sync.WaitGroup // while a packed archive is put on disk
	kept    error          // how that went
}

// prepare does what must succeed before anything is touched.
func (r *run) prepare(began time.Time) error {
	if err := r.rule().check(r.Agents); err != nil {
		return err
	}
	if len(r.job.Paths) == 0 && len(r.job.Hooks) == 0 {
		return core.Errorf(core.ErrInvalid, "nothing to back up")
	}
	draft, err := r.newDraft(began, ".tar.zst")
	if err != nil {
		return err
	}
	draft.Job, draft.Name, draft.Tags = r.job.Name, r.job.Label, r.job.Tags
	draft.MediaType, draft.Trigger = MediaType, r.job.Trigger
	r.draft, r.report.Backup = draft, draft
	if err := draft.ValidateDraft(); err != nil {
		return err
	}
	for _, path := range r.job.Paths {
		if _, err := os.Lstat(path); err != nil {
			return fmt.Errorf("nothing was stored: %w", err)
		}
	}
	return nil
}

// MediaType is that of archives that runs make.
const MediaType = "application/zstd"

func (p *Platform) newDraft(now time.Time, ext string) (b core.Backup, err error) {
	b = core.Backup{Created: now, Origin: p.Origin}
	if b.ID, err = core.NewID(now, p.Env.WithDefaults().Chance); err != nil {
		return b, err
	}
	b.Archive, err = core.ArchiveKey(b.ID, ext)
	return b, err
}

func (r *run) record(st *state) record {
	rec := record{ID: r.draft.ID, Job: r.draft.Job, Created: r.draft.Created, Agents: names(r.Agents), Spool: r.spoolPath(st)}
	if r.job.KeepPending > 0 {
		rec.Keep = r.draft.Created.Add(r.job.KeepPending)
	}
	return rec
}

// do runs what prepare prepared.
func (r *run) do(ctx context.Context) (err error) {
	st := &state{r.Env.StateDir}
	free, err := st.job(r.job.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, free()) }()
	cleared, err := r.takeOver(ctx, func(e *entry) bool { return e.Job == r.job.Name && e.waits(r.now()) })
	if err != nil {
		return err
	}
	r.report.Payments, r.report.Killed = cleared.payments, cleared.killed
	if r.entry, err = st.create(r.record(st), r.now); err != nil {
		return errors.Join(err, cleared.release())
	}
	if r.job.Began != nil {
		r.job.Began(r.draft.ID)
	}
	if err := r.spooled(ctx, cleared); err != nil {
		r.report.Outcome, r.report.Err = core.Failed, err
	}
	r.report.untidy(errors.Join(r.left, r.settle(ctx), cleared.settle(), cleared.failed()))
	r.tell(ctx)
	for _, e := range cleared.wanted {
		r.report.Resent = append(r.report.Resent, r.resend(ctx, e))
	}
	if r.report.Outcome == core.Failed {
		return r.report.Err
	}
	return nil
}

// tell tells hooks how the run went.
func (r *run) tell(ctx context.Context) {
	r.told = true
	r.report.Untold = r.hooks().Tell(context.WithoutCancel(ctx), r.moment(), r.report.Result)
}

// settle ends the record, or keeps it for what is left: of an archive that waits for
// agents everything stays.
func (r *run) settle(ctx context.Context) error {
	swept := r.after(ctx)
	err := r.entry.ledger.note(step{
		Step: stepEnded, Outcome: r.report.Outcome, Error: text(r.report.Err),
		Archive: r.report.Backup.Size, Dumped: r.dumped,
	})
	return errors.Join(err, r.entry.settle(swept))
}

func (r *run) spoolPath(st *state) string {
	if r.Spool != "" {
		return filepath.Join(r.Spool, "offsite-"+string(r.draft.ID)+".spool")
	}
	return filepath.Join(st.folder(r.draft.ID), "archive")
}

// spooled packs and sends.
func (r *run) spooled(ctx context.Context, cleared *takeover) (err error) {
	if r.Spool != "" {
		if err := os.MkdirAll(r.Spool, 0o700); err != nil {
			return err
		}
	}
	if err := r.hooks().Ready(); err != nil {
		return err
	}
	if err := r.roomAgain(r.job.Name, filepath.Dir(r.entry.Spool), r.entry.folder()); err != nil {
		return err
	}
	if r.spool, err = newSpool(r.entry.Spool, r.draft); err != nil {
		return err
	}
	defer func() { r.left = errors.Join(r.left, r.closeSpool()) }()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var sending atomic.Int64
	sending.Store(int64(len(r.Agents)))
	send := dispatch(ctx, r.Agents, r.spool, func(ctx context.Context, a core.Agent) error {
		cleared.sweep(ctx, a)
		return r.entry.before(ctx, a)
	}, func(res core.AgentResult) {
		// One that leaves because there is no archive is no reason to end the run.
		gone := res.Err != nil && !r.spool.broken() && (r.job.KeepPending == 0 || final(res.Err))
		if gone && sending.Add(-1) == 0 {
			stop(errNobody)
		}
	})
	unwatch := r.watchRoom(ctx, stop)
	packed := r.pack(ctx)
	unwatch()
	r.report.Agents = send.wait()
	if errors.Is(packed, errNobody) { // what the agents say is the reason
		packed = posts(packed)
	}
	r.pend()
	err = r.judge(ctx, packed)
	r.left = errors.Join(r.left, r.noteAgents())
	return err
}

// posts is what posts said, of an error of a core.Pipeline.
func posts(err error) error {
	if post := (*core.PostError)(nil); errors.As(err, &post) {
		return post
	}
	return nil
}

var errNobody = errors.New("no agent is left that takes the archive")

// pack runs the hooks around the packing. The spool is sealed or failed after it;
// the error of a sealed one is that of a post.
func (r *run) pack(ctx context.Context) error {
	// What hooks dumped is of use to nobody else, and may be large and secret.
	defer func() { r.left = errors.Join(r.left, os.RemoveAll(r.entry.path(hooksDir))) }()
	if err := r.hookDirs(); err != nil {
		r.spool.fail(err)
		return err
	}
	began := r.now()
	err := r.hooks().Run(ctx, r.moment(), r.archive)
	if len(r.job.Hooks) > 0 {
		r.report.Paused = r.now().Sub(began)
	}
	if err != nil {
		r.spool.fail(err)
	}
	r.keeping.Wait()
	return errors.Join(err, r.kept)
}

// pend says which agents will be asked again: while the archive is kept, whatever may
// pass.
func (r *run) pend() {
	if r.job.KeepPending > 0 && r.spool.whole() && r.kept == nil {
		r.entry.pend(r.report.Agents)
	}
}

// noteAgents notes how it went at each agent.
func (r *run) noteAgents() (err error) {
	for _, a := range r.report.Agents {
		err = errors.Join(err, r.entry.after(a))
	}
	return err
}

// closeSpool removes the archive unless an agent is still to get it.
func (r *run) closeSpool() error {
	if slices.ContainsFunc(r.report.Agents, pending) {
		return r.spool.file.Close()
	}
	return errors.Join(r.entry.unseal(), r.spool.close())
}

func pending(a core.AgentResult) bool { return a.State == core.Pending }

func (r *run) hooks() core.Pipeline {
	return core.Pipeline{Hooks: r.job.Hooks, MaxPause: r.job.MaxPause, Dir: r.hookDir, Debts: r.entry}
}

func (r *run) moment() core.Moment { return core.Moment{ID: r.draft.ID, Job: r.draft.Job} }

// archive packs the source into the spool and seals it.
func (r *run) archive(ctx context.Context, hooks []core.HookRun) error {
	r.dumped = dumped(r.entry.path(hooksDir))
	for name, dir := range r.dirs {
		if files, err := os.ReadDir(dir); err == nil && len(files) == 0 {
			delete(r.dirs, name) // the folder stays, for the post
		}
	}
	stats, err := archive.Pack(ctx, r.spool, archive.Options{
		Paths:      r.job.Paths,
		Dirs:       r.dirs,
		Exclude:    r.job.Exclude,
		Leave:      append([]string{r.Env.StateDir, r.spool.SealedFile()}, r.job.Leave...),
		AllowEmpty: r.job.AllowEmpty,
		Report:     r.odd,
	})
	if err != nil {
		r.spool.fail(err)
		return err
	}
	b := r.draft
	b.Lost = stats.Lost
	b.ContentSize, b.Entries, b.TOC, b.Hooks = stats.ContentSize, stats.Entries, &stats.TOC, hooks
	b = r.spool.seal(b)
	r.report.Backup = b
	r.keeping.Go(func() { // beside the posts: the application waits for no disk
		defer r.spool.give()
		r.kept = r.keep(b)
	})
	r.report.Lost, r.report.Odd = stats.Lost, stats.Odd
	return nil
}

func (r *run) odd(o archive.Oddity) {
	if r.job.Odd != nil {
		r.job.Odd(o)
	}
}

// hookDir is the directory whose files go into the archive under hooks/<name>.
func (r *run) hookDir(name string) string { return r.entry.path(filepath.Join(hooksDir, name)) }

func (r *run) hookDirs() error {
	r.dirs = map[string]string{}
	for _, h := range r.job.Hooks {
		if h.Name == "" || h.Name != filepath.Base(filepath.Clean("/"+h.Name)) {
			return core.Errorf(core.ErrInvalid, "%q is no name of a hook", h.Name)
		}
		if h.Pre == nil && h.Post == nil {
			continue // it is told how the run went, and dumps nothing
		}
		dir := r.hookDir(h.Name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		r.dirs["hooks/"+h.Name] = dir
	}
	return nil
}

// judge says how the run went by what each agent answered. A backup that is
// stored, with something wrong around it, is degraded.
func (r *run) judge(ctx context.Context, packed error) error {
	var wrong error
	_, reason := r.spool.Backup(context.Background()) // it has ended
	if reason == nil {
		packed, wrong = nil, packed
	}
	if r.report.Lost > 0 {
		wrong = errors.Join(wrong, fmt.Errorf("%d of its entries could not be read", r.report.Lost))
	}
	r.report.Result = r.rule().judge(r.report.Result, packed, func(err error) bool {
		over := ctx.Err() != nil && (errors.Is(err, context.Cause(ctx)) || errors.Is(err, ctx.Err()))
		return over || errors.Is(err, reason)
	})
	r.report.Err = errors.Join(r.report.Err, wrong)
	if r.report.Outcome == core.OK && wrong != nil {
		r.report.Outcome = core.Degraded
	}
	if r.report.Outcome == core.Failed {
		return r.report.Err
	}
	return nil
}

// after removes what a run that did not store its backup left at agents, and
// returns the names of those where nothing can be left.
func (r *run) after(ctx context.Context) (clean []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepTime)
	defer cancel()
	for i, a := range r.Agents {
		if i < len(r.report.Agents) && pending(r.report.Agents[i]) {
			continue // what it has is gone on with
		}
		stored := i < len(r.report.Agents) && r.report.Agents[i].State == core.Stored
		if stored || r.sweep(ctx, a, r.draft.ID) == nil {
			clean = append(clean, a.Name())
		}
	}
	return clean
}
