package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
)

// waits says whether an archive is packed and waits for agents.
func (e *entry) waits(now time.Time) bool {
	return !now.After(e.Keep) && e.sealed()
}

// sealed says whether an archive is packed, and some agent may lack it.
func (e *entry) sealed() bool {
	_, err := os.Stat(e.path(sealedFile))
	return err == nil
}

// unseal says that the archive waits for nobody any more, before it is removed: one
// that is not there while its metadata is may be on a disk that is away.
func (e *entry) unseal() error {
	err := os.Remove(e.path(sealedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncDir(e.folder()))
}

// keep puts a packed archive on disk, so that it can be sent after this process has
// died. No agent commits before: what one has is then kept for the others.
//
// Of a run that keeps none it is noted alone that there is one, which some agent may
// have when this process dies.
func (r *run) keep(b core.Backup) error {
	if r.job.KeepPending == 0 {
		return r.entry.ledger.note(step{Step: stepPacked})
	}
	if err := errors.Join(r.spool.file.Sync(), syncDir(filepath.Dir(r.entry.Spool))); err != nil {
		return err
	}
	doc, err := b.Encode()
	if err != nil {
		return err
	}
	if err := writeSynced(r.entry.path(sealedFile), doc); err != nil {
		return err
	}
	return r.entry.ledger.note(step{Step: stepPacked})
}

// A waiting is a packed archive of a dead run, or of one that an agent did not take.
// It is a core.Source: its bytes are compared with its metadata once more.
type waiting struct {
	*core.File
	backup core.Backup
	path   string
}

// SealedFile is the path of the archive, which nobody writes again.
func (w *waiting) SealedFile() string { return w.path }

func openWaiting(e *entry) (*waiting, error) {
	doc, err := os.ReadFile(e.path(sealedFile))
	if err != nil {
		return nil, err
	}
	b, err := core.DecodeBackup(e.ID, doc)
	if err != nil {
		return nil, err
	}
	f, err := core.OpenFile(e.Spool, b, crc64nvme.New())
	if err != nil {
		return nil, err
	}
	return &waiting{f, b, e.Spool}, nil
}

func (w *waiting) Draft() core.Backup { return w.backup }

func (w *waiting) Backup(ctx context.Context) (core.Backup, error) {
	b, err := w.File.Backup(ctx)
	if err == nil && (b.Size != w.backup.Size || b.SHA256 != w.backup.SHA256) {
		err = core.Errorf(core.ErrDamaged, "the archive that waited for agents is not the one that was packed")
	}
	return w.backup, err
}

// final says that an agent will not take an archive however often it is asked.
// Everything else somebody may mend: a URL, a network, a right.
func final(err error) bool {
	return errors.Is(err, core.ErrExists) || errors.Is(err, core.ErrInvalid)
}

// resend sends an archive that waits to those agents that lack it, and ends its
// record when none does any more.
func (p *Platform) resend(ctx context.Context, e *entry) Report {
	report := Report{}
	report.Backup.ID, report.Backup.Job = e.ID, e.Job
	// What hooks dumped is in the archive, and may be large and secret.
	dumps := os.RemoveAll(e.path(hooksDir))
	src, err := openWaiting(e)
	if err != nil {
		report.Outcome, report.Err = core.Failed, errors.Join(fmt.Errorf("the archive of %s that waited: %w", e.ID, err), e.giveUp(err))
		return report
	}
	report.Backup = src.backup
	var left []string
	if err = e.open(p.now); err == nil {
		report.Agents, left = p.offer(ctx, e, src)
	}
	err = errors.Join(err, dumps, src.Close(), e.settleWaiting(report.Agents, left))
	report.Outcome, report.Err = core.OK, err
	for _, a := range report.Agents {
		if a.State != core.Stored {
			report.Outcome, report.Err = core.Degraded, errors.Join(report.Err, a.Err)
		}
	}
	if err != nil && report.Outcome == core.OK {
		report.Outcome = core.Degraded
	}
	return report
}

// offer uploads to the agents of this platform that the record still names. left are
// those that have it, and something of an earlier try besides.
func (p *Platform) offer(ctx context.Context, e *entry, src core.Source) (results []core.AgentResult, left []string) {
	lacking := slices.DeleteFunc(slices.Clone(p.Agents), func(a core.Agent) bool { return !slices.Contains(e.Agents, a.Name()) })
	results = dispatch(ctx, lacking, src, e.before, func(core.AgentResult) {}).wait()
	left = p.tidy(ctx, e.ID, results)
	e.pend(results)
	for _, name := range e.Agents {
		if !slices.ContainsFunc(lacking, func(a core.Agent) bool { return a.Name() == name }) {
			results = append(results, core.AgentResult{Agent: name, State: core.Pending, Err: fmt.Errorf("%s: this command does not know that agent", name)})
		}
	}
	return results, left
}

// pend turns what may yet succeed from failed to pending.
func (e *entry) pend(results []core.AgentResult) {
	for i, r := range results {
		if r.State == core.Missing && !final(r.Err) {
			results[i].State = core.Pending
		}
	}
}

// before notes that an archive goes to an agent.
func (e *entry) before(_ context.Context, a core.Agent) error {
	return e.ledger.note(step{Step: stepSends, Agent: a.Name()})
}

// after notes how that went.
func (e *entry) after(r core.AgentResult) error {
	return e.ledger.note(step{Step: stepAgent, Agent: r.Agent, State: r.State, Error: text(r.Err)})
}

// settleWaiting keeps the record, and the archive, while an agent is to be asked
// again, and the record while something is left at an agent.
func (e *entry) settleWaiting(results []core.AgentResult, left []string) error {
	var err error
	for _, r := range results {
		err = errors.Join(err, e.after(r))
		if r.State != core.Pending && !slices.Contains(left, r.Agent) {
			e.Agents = slices.DeleteFunc(e.Agents, func(name string) bool { return name == r.Agent })
		}
	}
	if len(results) > 0 && !slices.ContainsFunc(results, pending) {
		err = errors.Join(err, e.unseal(), e.empty())
	}
	return errors.Join(err, e.end())
}

// giveUp makes an archive that waits one that is over, where it is no use. One that
// cannot be read now may be on a disk that is away, or another user's.
func (e *entry) giveUp(why error) error {
	if !errors.Is(why, core.ErrDamaged) && !errors.Is(why, core.ErrInvalid) {
		return e.release()
	}
	e.Keep = time.Time{}
	return errors.Join(e.save(), e.unseal(), e.release())
}
