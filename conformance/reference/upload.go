package reference

import (
	"context"
	"errors"
	"io"
	"math"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

const fileMode = 0o600

// Upload is core.Agent's.
func (a *agent) Upload(ctx context.Context, src core.Source) error {
	draft := src.Draft()
	return a.call(ctx, "upload", draft.ID, func(ctx context.Context) error {
		if err := draft.ValidateDraft(); err != nil {
			return err
		}
		return a.upload(ctx, src, draft)
	})
}

// A sending is one attempt to store one archive.
type sending struct {
	*agent
	ctx        context.Context // the call's
	key, token string
	sums       []core.CRC64 // of its parts
	whole      *core.Sums
}

func (a *agent) upload(ctx context.Context, src core.Source, draft core.Backup) (err error) {
	s := &sending{agent: a, ctx: ctx, key: draft.Archive, token: a.tokens(), whole: core.NewSums(crc64nvme.New())}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.abort())
		}
	}()
	if err := a.free(ctx, draft.ID); err != nil {
		return err
	}
	if _, err := a.read(ctx, draft.ID); errors.Is(err, core.ErrDamaged) {
		return err
	}
	if err := s.send(src.Reader(ctx)); err != nil {
		return err
	}
	sealed, err := src.Backup(ctx)
	if err != nil {
		return err
	}
	doc, err := s.check(draft, sealed)
	if err != nil {
		return err
	}
	if err := s.publish(sealed); err != nil {
		return err
	}
	if err := a.create(ctx, metaKey(draft.ID), doc); err != nil {
		return a.settle(ctx, sealed, err)
	}
	return a.stillWanted(ctx, draft.ID)
}

// free answers ErrExists for an id that was deleted on purpose.
func (a *agent) free(ctx context.Context, id core.ID) error {
	_, err := a.stat(ctx, goneKey(id))
	switch {
	case err == nil:
		return core.Errorf(core.ErrExists, "it was deleted on purpose")
	case errors.Is(err, core.ErrNotFound):
		return nil
	}
	return err
}

// stillWanted takes a backup back whose id was deleted during its upload.
func (a *agent) stillWanted(ctx context.Context, id core.ID) error {
	err := a.free(ctx, id)
	if errors.Is(err, core.ErrExists) {
		return errors.Join(err, a.removeBackup(ctx, id))
	}
	return err
}

// send stores the parts, one after the other.
func (s *sending) send(r io.ReaderAt) error {
	in := io.NewSectionReader(r, 0, math.MaxInt64)
	buf := make([]byte, PartSize)
	if err := s.pass(conformance.Step{Op: conformance.StepCreate, Key: s.temp()}); err != nil {
		return err
	}
	for {
		n, err := io.ReadFull(in, buf)
		if n > 0 {
			if err := s.part(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *sending) temp() string { return s.key + ".parts-" + s.token }

func (s *sending) part(p []byte) error {
	_, _ = s.whole.Write(p) // never fails
	crc := crc64nvme.New()
	crc.Write(p)
	sum := core.CRC64(crc.Sum64())
	_, err := s.step(s.ctx, conformance.Step{Op: conformance.StepWrite, Key: s.temp(), Size: len(p)},
		request{Op: putPart, Key: s.key, Token: s.token, Index: len(s.sums), Data: p, Sums: []core.CRC64{sum}})
	s.sums = append(s.sums, sum)
	return err
}

// check compares what was sent with what the metadata says, and returns the
// document.
func (s *sending) check(draft, sealed core.Backup) ([]byte, error) {
	if sealed.ID != draft.ID || sealed.Archive != draft.Archive {
		return nil, core.Errorf(core.ErrChanged, "the metadata is of %q, the draft of %q", sealed.Archive, draft.Archive)
	}
	got := core.Backup{}
	s.whole.Fill(&got)
	if got.Size != sealed.Size || got.SHA256 != sealed.SHA256 {
		return nil, core.Errorf(core.ErrChanged, "the source gave %d bytes with SHA-256 %s, its metadata says %d with %s", got.Size, got.SHA256, sealed.Size, sealed.SHA256)
	}
	doc, err := sealed.Encode()
	if err != nil {
		return nil, err
	}
	sent, _ := got.Chunks.Whole(got.Size)
	if promised, ok := sealed.Chunks.Whole(sealed.Size); ok && promised != sent {
		return nil, core.Errorf(core.ErrChanged, "the checksums of the chunks are not those of the bytes")
	}
	return doc, nil
}

// publish gives the archive its name, unless it has it from another attempt.
func (s *sending) publish(sealed core.Backup) error {
	for _, op := range []conformance.StepOp{conformance.StepSync, conformance.StepClose} {
		if err := s.pass(conformance.Step{Op: op, Key: s.temp()}); err != nil {
			return err
		}
	}
	_, err := s.step(s.ctx, conformance.Step{Op: conformance.StepPublish, Key: s.key, From: s.temp()},
		request{Op: commit, Key: s.key, Token: s.token, Sums: s.sums, Mode: fileMode})
	if err != nil {
		if err := s.settleArchive(sealed, err); err != nil {
			return err
		}
		if err := s.abort(); err != nil {
			return err
		}
	}
	return s.syncDir(s.key)
}

// settleArchive turns ErrExists into success when the very same bytes are there.
func (s *sending) settleArchive(sealed core.Backup, err error) error {
	if !errors.Is(err, core.ErrExists) {
		return err
	}
	there, err := s.stat(s.ctx, s.key)
	if err != nil {
		return err
	}
	r := &reader{agent: s.agent, ctx: s.ctx, meta: sealed, version: there.Version, end: there.Size}
	r.check()
	if _, err := io.Copy(io.Discard, r); there.Size != sealed.Size || errors.Is(err, core.ErrDamaged) {
		return core.Errorf(core.ErrExists, "other bytes are stored under this id")
	} else if err != nil {
		return err
	}
	return nil
}

// settle turns ErrExists of the metadata into success when it tells the same.
func (a *agent) settle(ctx context.Context, sealed core.Backup, err error) error {
	if !errors.Is(err, core.ErrExists) {
		return err
	}
	there, err := a.read(ctx, sealed.ID)
	if err != nil {
		return err
	}
	if there.Size != sealed.Size || there.SHA256 != sealed.SHA256 {
		return core.Errorf(core.ErrExists, "other bytes are stored under this id")
	}
	return nil
}

// abort removes the parts, also when the call's context has ended.
func (s *sending) abort() error {
	if len(s.sums) == 0 {
		return nil
	}
	_, err := s.step(context.WithoutCancel(s.ctx), conformance.Step{Op: conformance.StepRemove, Key: s.temp()}, request{Op: abort, Key: s.key, Token: s.token})
	return err
}
