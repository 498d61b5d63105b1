package platform

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/archive"
)

// Archive returns the archive of a backup, read from the first agent that has
// it. When that one fails, be it in the middle, the next one goes on.
func (p *Platform) Archive(ctx context.Context, id core.ID) (core.Archive, error) {
	return p.copies(ctx, id)
}

func (p *Platform) copies(ctx context.Context, id core.ID) (*copies, error) {
	c := &copies{id: id, rest: p.Agents}
	if _, err := c.current(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// copies is one archive at several agents. It is a core.Archive.
type copies struct {
	id core.ID

	mu     sync.Mutex
	open   core.Archive // nil when the next one is to be opened
	from   string       // the agent that open is at
	backup core.Backup  // of the first one that was opened
	rest   []core.Agent // not asked yet
	errs   []error      // why the others are not used
}

// current is the copy that is read now: the one that is open, or the next that
// can be opened and is of the same bytes.
func (c *copies) current(ctx context.Context) (core.Archive, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.open == nil {
		if len(c.rest) == 0 {
			return nil, c.why()
		}
		agent := c.rest[0]
		c.rest = c.rest[1:]
		a, err := agent.Open(ctx, c.id)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err == nil && c.backup.ID != "" && (a.Backup().SHA256 != c.backup.SHA256 || a.Backup().Size != c.backup.Size) {
			err = errors.Join(core.Errorf(core.ErrDamaged, "%s has other bytes of %s than the agent before it", agent.Name(), c.id), a.Close())
		}
		if err != nil {
			c.errs = append(c.errs, err)
			continue
		}
		c.open, c.from, c.backup = a, agent.Name(), a.Backup()
	}
	return c.open, nil
}

// why says why no agent gives the archive. It is ErrNotFound when one that could
// be asked does not have it, and says as well which could not be asked.
func (c *copies) why() error {
	if len(c.errs) == 0 {
		return core.Errorf(core.ErrInvalid, "no agent to read %s from", c.id)
	}
	return errors.Join(c.errs...)
}

// failed is why copies that are there are not used.
func (c *copies) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(slices.DeleteFunc(slices.Clone(c.errs), func(err error) bool { return errors.Is(err, core.ErrNotFound) })...)
}

// drop gives up a copy that failed. It says whether another may be there.
func (c *copies) drop(failed core.Archive, err error) (more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == failed {
		c.errs = append(c.errs, err)
		_ = c.open.Close()
		c.open = nil
	}
	return c.open != nil || len(c.rest) > 0
}

// several says whether another copy may follow the one that is read now.
func (c *copies) several() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.rest) > 0
}

func (c *copies) Backup() core.Backup {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.backup
}

// agent is the name of the agent that was read last.
func (c *copies) agent() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.from
}

func (c *copies) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		return nil
	}
	return c.open.Close()
}

func (c *copies) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	b := c.Backup()
	if n < 0 {
		n = b.Size - off
	}
	r := &copyReader{copies: c, ctx: ctx, off: off, left: n}
	if inside := off >= 0 && n >= 0 && off <= b.Size && n <= b.Size-off; inside && c.several() {
		r.check = core.NewCheck(b, off, n, crc64nvme.New())
	}
	if err := r.next(); err != nil {
		return nil, err
	}
	return r, nil
}

// A copyReader reads one range, from one copy after the other. Each agent checks
// what it gives, but none checks a chunk of which it gives only a part, so what
// they give together is checked here.
type copyReader struct {
	*copies
	ctx       context.Context
	off, left int64
	check     *core.Check // nil where one agent gives it all
	from      core.Archive
	body      io.ReadCloser
}

// next begins to read at off from the current copy.
func (r *copyReader) next() error {
	for {
		a, err := r.current(r.ctx)
		if err != nil {
			return err
		}
		r.body, err = a.Range(r.ctx, r.off, r.left)
		if r.from = a; err == nil || !r.another(err) {
			return err
		}
	}
}

// another says whether to go on with another copy after an error.
func (r *copyReader) another(err error) bool {
	if r.ctx.Err() != nil || errors.Is(err, core.ErrInvalid) {
		return false
	}
	return r.drop(r.from, err)
}

func (r *copyReader) Read(p []byte) (int, error) {
	if r.body == nil {
		return 0, core.ErrClosed
	}
	n, err := r.body.Read(p)
	r.off, r.left = r.off+int64(n), r.left-int64(n)
	if bad := r.joined(p[:n], err); bad != nil {
		return n, bad
	}
	switch {
	case errors.Is(err, core.ErrDamaged):
		// What was read by now may be damaged: whoever reads has to begin again.
		r.another(err)
	case err != nil && !errors.Is(err, io.EOF) && r.another(err):
		_ = r.body.Close()
		if err = r.next(); err != nil {
			r.body = nil
		}
	}
	return n, err
}

// joined checks bytes that were read, and at the end all of them. Which of the
// copies is the damaged one it cannot say.
func (r *copyReader) joined(p []byte, err error) error {
	if r.check == nil {
		return nil
	}
	if _, bad := r.check.Write(p); bad != nil {
		return bad
	}
	if errors.Is(err, io.EOF) {
		return r.check.End()
	}
	return nil
}

func (r *copyReader) Close() error {
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}

// Contents returns the table of contents of a backup, and its archive, which the
// caller closes when it has read what it wants. What offsite did not pack is
// ErrUnsupported.
func (p *Platform) Contents(ctx context.Context, id core.ID) (*archive.Reader, core.Archive, error) {
	c, err := p.copies(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	r, err := c.contents(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return r, c, nil
}

func (c *copies) contents(ctx context.Context) (*archive.Reader, error) {
	for {
		if err := c.packed(ctx); err != nil {
			return nil, err
		}
		a, err := c.current(ctx)
		if err != nil {
			return nil, err
		}
		r, err := archive.Open(ctx, c, *c.Backup().TOC)
		if err == nil || ctx.Err() != nil || !c.drop(a, err) {
			return r, err
		}
	}
}

// packed goes on to a copy whose metadata knows what is inside. One that was
// fetched and uploaded by hand has the same bytes and does not.
func (c *copies) packed(ctx context.Context) error {
	for c.Backup().TOC == nil {
		a, err := c.current(ctx)
		if err != nil {
			return err
		}
		err = core.Errorf(core.ErrUnsupported, "%s was uploaded as it is, nothing inside it can be listed or restored: use download", c.id)
		if !c.drop(a, err) {
			return err
		}
		if _, err := c.current(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Download fetches the archive of a backup to a file, as core.Download does, from
// the first agent that gives it whole.
func (p *Platform) Download(ctx context.Context, id core.ID, path string) (core.Backup, error) {
	c := &copies{id: id, rest: p.Agents}
	for _, a := range p.Agents {
		b, err := core.Download(ctx, a, id, path)
		if err == nil || ctx.Err() != nil || errors.Is(err, core.ErrExists) || errors.Is(err, core.ErrInvalid) {
			return b, err
		}
		c.errs = append(c.errs, err)
	}
	return core.Backup{}, c.why()
}
