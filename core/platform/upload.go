package platform

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
)

// Upload sends a file as a backup, as it is. An unfinished upload of the same file
// to these agents is gone on with.
func (p *Platform) Upload(ctx context.Context, path string, o UploadOptions) (Report, error) {
	began := p.now()
	u := &fileUpload{Platform: p, path: path, options: o}
	err := u.do(ctx)
	u.report.Took = p.now().Sub(began)
	if err != nil {
		u.report.Outcome, u.report.Err = core.Failed, err
	}
	return u.report, err
}

// A fileUpload is one Upload on its way.
type fileUpload struct {
	*Platform
	path    string
	options UploadOptions
	entry   *entry
	again   bool     // whether the entry is of an earlier try
	left    error    // why something is left on this machine
	messy   []string // agents at which something of an earlier try may be left
	report  Report
}

func (u *fileUpload) do(ctx context.Context) (err error) {
	rule := rule{u.options.Copies, u.options.Require}
	if err := rule.check(u.Agents); err != nil {
		return err
	}
	if u.options.ID != "" {
		if err := u.options.ID.Validate(); err != nil {
			return err
		}
	}
	file, err := identify(u.path)
	if err != nil {
		return err
	}
	cleared, err := u.take(ctx, file)
	if err != nil {
		return err
	}
	if err := u.send(ctx, rule, cleared); err != nil {
		u.report.Outcome, u.report.Err = core.Failed, err
	}
	u.report.untidy(errors.Join(u.left, u.settle(), cleared.settle(), cleared.failed()))
	if u.report.Outcome == core.Failed {
		return u.report.Err
	}
	return nil
}

func (u *fileUpload) send(ctx context.Context, rule rule, cleared *takeover) error {
	src, err := u.source()
	if err != nil {
		return err
	}
	defer func() { u.left = src.Close() }()
	if u.options.Began != nil {
		u.options.Began(u.entry.ID)
	}
	send := dispatch(ctx, u.Agents, src, func(ctx context.Context, a core.Agent) error {
		cleared.sweep(ctx, a)
		return nil
	}, func(core.AgentResult) {})
	u.report.Agents = send.wait()
	if u.again {
		u.messy = u.tidy(ctx, u.entry.ID, u.report.Agents)
	}
	if b, err := src.Backup(ctx); err == nil {
		u.report.Backup = b
	}
	u.report.Result = rule.judge(u.report.Result, nil, nil)
	if u.report.Outcome == core.Failed {
		return u.report.Err
	}
	return nil
}

// take finds the record of an unfinished upload of the file, or makes one.
func (u *fileUpload) take(ctx context.Context, file *fileID) (*takeover, error) {
	cleared, err := u.takeOver(ctx, func(e *entry) bool {
		return e.File.same(file) && slices.Equal(e.Agents, names(u.Agents)) && (u.options.ID == "" || u.options.ID == e.ID)
	})
	if err != nil {
		return nil, err
	}
	u.report.Payments, u.report.Killed = cleared.payments, cleared.killed
	if u.again = len(cleared.wanted) > 0; u.again {
		u.entry = cleared.wanted[0]
		for _, e := range cleared.wanted[1:] {
			_ = e.release() // another time
		}
		u.tellKept()
		return cleared, nil
	}
	st := &state{u.Env.StateDir}
	draft, err := u.newDraft(u.now(), "")
	if err == nil {
		if u.options.ID != "" {
			draft.ID = u.options.ID
		}
		u.entry, err = st.create(record{
			ID: draft.ID, Job: u.options.Job, Created: draft.Created, Agents: names(u.Agents),
			File: file, Label: u.options.Label, Tags: u.options.Tags, Origin: u.Origin,
		}, u.now)
	}
	if err != nil {
		return nil, errors.Join(err, cleared.release())
	}
	return cleared, nil
}

// tellKept warns of options that change nothing any more: some agent may have the
// metadata already.
func (u *fileUpload) tellKept() {
	if o, e := u.options, u.entry; o.Job != e.Job || o.Label != e.Label || !maps.Equal(o.Tags, e.Tags) {
		u.Env.WithDefaults().Log.Warn("the upload goes on with the name, job and tags that it began with", "id", e.ID)
	}
}

// source opens the file. Its metadata is that of the record, the same each time it
// is gone on with.
func (u *fileUpload) source() (*core.File, error) {
	key, err := core.ArchiveKey(u.entry.ID, core.Extension(u.path))
	if err != nil {
		return nil, err
	}
	b := core.Backup{
		ID: u.entry.ID, Created: u.entry.Created, Archive: key, Origin: u.entry.Origin,
		Job: u.entry.Job, Name: u.entry.Label, Tags: u.entry.Tags,
	}
	u.report.Backup = b
	return core.OpenFile(u.path, b, crc64nvme.New())
}

// settle ends the record when every agent has the file, or will never take it;
// else it stays for the same command to go on with. A record that is new is of no
// use when no agent was asked.
func (u *fileUpload) settle() error {
	if len(u.report.Agents) == 0 && u.again {
		return u.entry.release()
	}
	for _, a := range u.report.Agents {
		if a.State != core.Stored && !errors.Is(a.Err, core.ErrExists) && !errors.Is(a.Err, core.ErrInvalid) {
			return u.entry.release()
		}
	}
	u.entry.Agents, u.entry.File = u.messy, nil
	return u.entry.end()
}
