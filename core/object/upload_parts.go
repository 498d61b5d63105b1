package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transfer"
)

// inParts stores an archive in parts, going on with an earlier upload of the same
// bytes where there is one.
func (u *upload) inParts(send transfer.Send) (core.Backup, error) {
	if o, err := u.agent.store.Stat(u, u.draft.Archive); err == nil {
		return u.there(o)
	} else if !absent(err) {
		return core.Backup{}, err
	}
	parts, err := u.begin(&send)
	if err != nil {
		return core.Backup{}, err
	}
	return u.through(parts, send)
}

// through sends the parts that the place lacks, and commits.
func (u *upload) through(parts Multipart, send transfer.Send) (core.Backup, error) {
	send.Put = func(ctx context.Context, p Part, body *io.SectionReader) error {
		return parts.Put(ctx, p, u.limited(ctx, body))
	}
	if in, ok := parts.(Ordered); ok && in.InOrder() {
		send.Limits.Workers = 1
	}
	stop := u.expect()
	sent, err := send.Run(u)
	stop()
	var b core.Backup
	if err == nil {
		u.size, u.sum = transfer.Whole(sent)
		b, err = u.sealed()
	}
	if err != nil {
		return core.Backup{}, u.giveUp(parts, err)
	}
	o, err := parts.Commit(u, sent)
	if errors.Is(err, core.ErrChanged) {
		err = fmt.Errorf("%w: %w", errMixed, err)
	}
	if err = u.settle(b, o, err); err != nil {
		return core.Backup{}, u.giveUp(parts, err)
	}
	u.tidy()
	return b, nil
}

// begin goes on with an upload in parts where there is one, or begins one.
func (u *upload) begin(send *transfer.Send) (parts Multipart, err error) {
	if !u.alone {
		parts, err = u.resume(send)
	}
	if err == nil && parts == nil {
		parts, err = u.agent.store.Begin(u, u.draft.Archive, u.token)
	}
	return parts, err
}

// there goes on after an upload that ended between archive and metadata: nothing
// is sent when the archive is this source's.
func (u *upload) there(o Object) (core.Backup, error) {
	crc := crc64nvme.New()
	n, err := transfer.Sum(io.NewSectionReader(u.reader(u), 0, math.MaxInt64), crc, make([]byte, 256<<10))
	if err != nil {
		return core.Backup{}, err
	}
	u.size, u.sum = n, core.CRC64(crc.Sum64())
	b, err := u.sealed()
	if err != nil {
		return core.Backup{}, err
	}
	same, err := u.sameArchive(b, o)
	if err != nil {
		return core.Backup{}, err
	}
	if !same {
		return core.Backup{}, core.Errorf(core.ErrExists, "%s is there with other bytes", b.Archive)
	}
	u.tidy()
	return b, u.agent.settled(u, b.Archive)
}

// resume finds an upload in parts that holds nothing but bytes of this source.
func (u *upload) resume(send *transfer.Send) (Multipart, error) {
	for m, err := range u.agent.store.Multiparts(u, u.draft.Archive) {
		if absent(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if m.Key() != u.draft.Archive {
			continue
		}
		have, err := m.Parts(u)
		if absent(err) {
			continue // committed or aborted by now
		}
		if err != nil {
			return nil, err
		}
		size := partSize(have, send.Limits, send.PartSize)
		if ok, err := u.ours(have, send.Limits, size); err != nil {
			return nil, err
		} else if ok {
			send.Have, send.PartSize = have, size
			u.token = m.Token()
			return m, nil
		}
	}
	return nil, nil
}

// partSize is the part size of an upload that has some of its parts: as planned,
// unless some are larger.
func partSize(have []Part, limits transfer.Limits, planned int64) int64 {
	for _, p := range have {
		if limits.SizeOf(planned, p.Index) < p.Size {
			planned = p.Size
		}
	}
	return planned
}

// ours says whether all parts, and at least one, are of this source. An upload
// without any may be another's that has just begun.
func (u *upload) ours(have []Part, limits transfer.Limits, size int64) (bool, error) {
	crc, buf, reader := crc64nvme.New(), make([]byte, 256<<10), u.reader(u)
	for _, p := range have {
		n, err := transfer.Sum(io.NewSectionReader(reader, limits.OffsetOf(size, p.Index), p.Size), crc, buf)
		if err != nil {
			return false, err
		}
		if n != p.Size || core.CRC64(crc.Sum64()) != p.CRC64 {
			return false, nil
		}
	}
	return len(have) > 0, nil
}

// giveUp removes the parts, unless it is the place's fault, or the caller's wish,
// that the upload ends: then a later one goes on with them.
func (u *upload) giveUp(parts Multipart, err error) error {
	if u.Err() != nil {
		return err
	}
	switch core.KindOf(err) {
	case core.ErrUnavailable, core.ErrThrottled, core.ErrNoSpace, core.ErrNoPlace,
		core.ErrDenied, core.ErrUnauthenticated, core.ErrClock:
		if u.failed.load() == nil {
			return err
		}
	}
	return errors.Join(err, parts.Abort(u))
}

// tidy removes other uploads in parts of the archive that is stored now. What it
// cannot remove, a sweep will.
func (u *upload) tidy() {
	var all []Multipart
	var failed error
	for m, err := range u.agent.store.Multiparts(u, u.draft.Archive) {
		if err == nil && m.Key() == u.draft.Archive {
			all = append(all, m)
		}
		failed = errors.Join(failed, err)
	}
	for _, m := range all {
		failed = errors.Join(failed, m.Abort(u))
	}
	if failed != nil {
		u.agent.env.Log.Warn("parts of a stored archive are left", "agent", u.agent.Name(), "id", u.id, "error", failed)
	}
}
