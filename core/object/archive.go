package object

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
)

// Open returns the stored archive of id, pinned to the version that is there now.
func (a *Agent) Open(ctx context.Context, id core.ID) (core.Archive, error) {
	c, err := a.begin(ctx, opOpen, id)
	if err != nil {
		return nil, err
	}
	defer c.end()
	b, o, err := c.find()
	if err != nil {
		return nil, c.error(err)
	}
	return &archive{agent: a, backup: b, object: o}, nil
}

// An archive is one stored archive.
type archive struct {
	agent  *Agent
	backup core.Backup
	object Object
	read   atomic.Int64 // bytes of all its ranges
}

func (r *archive) progress(n int) {
	r.agent.env.Progress(core.Progress{Agent: r.agent.Name(), ID: r.backup.ID, Done: r.read.Add(int64(n)), Total: r.backup.Size})
}

func (r *archive) Backup() core.Backup { return r.backup }

// Close has nothing to do: every reader of Range holds its own connection.
func (r *archive) Close() error { return nil }

func (r *archive) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	c, err := r.agent.begin(ctx, opRead, r.backup.ID)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		n = r.backup.Size - off
	}
	if off < 0 || n < 0 || off > r.backup.Size || n > r.backup.Size-off {
		c.end()
		return nil, c.error(core.Errorf(core.ErrInvalid, "%d bytes from %d are not in an archive of %d", n, off, r.backup.Size))
	}
	rd := &reader{call: c, archive: r, left: n, check: core.NewCheck(r.backup, off, n, crc64nvme.New())}
	if n > 0 {
		rd.body, err = r.agent.store.Range(c, r.object, off, n)
	}
	if err != nil {
		defer c.end()
		return nil, c.error(err)
	}
	c.leave()
	return rd, nil
}

// A reader is one range on its way. Close of the agent ends it.
type reader struct {
	*call
	archive *archive
	body    io.ReadCloser // nil for no bytes
	left    int64
	check   *core.Check
	err     error // what every further Read answers
}

func (r *reader) Read(p []byte) (int, error) {
	if r.err == nil && r.left == 0 {
		r.err = r.finish(r.check.End())
	}
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	p = p[:min(int64(len(p)), r.left, limitStep)]
	if r.err = r.error(r.agent.env.Limit.WaitN(r, len(p))); r.err != nil {
		return 0, r.err
	}
	n, err := r.body.Read(p)
	r.left -= int64(n)
	r.archive.progress(n)
	if _, bad := r.check.Write(p[:n]); bad != nil {
		err = bad
	} else if r.left == 0 {
		err = nil // whatever comes after the last byte, finish decides
	} else if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		r.err = r.error(err)
	}
	return n, r.err
}

func (r *reader) finish(damage error) error {
	if damage != nil {
		return r.error(damage)
	}
	return io.EOF
}

func (r *reader) Close() error {
	if r.err == nil {
		r.err = r.error(core.ErrClosed)
	}
	r.end()
	if r.body == nil {
		return nil
	}
	// What closing a body that is not read to its end reports means nothing.
	_ = r.body.Close()
	return nil
}
