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
		if a.total > 0 {
			late := core.Errorf(core.ErrUnavailable, "it took more than %v in all", a.total)
			bound, cancel := context.WithTimeoutCause(ctx, a.total, late)
			defer cancel()
			ctx = bound
		}
		err := a.upload(ctx, src, draft, false)
		// Another upload of this id may have ended meanwhile, and have taken the
		// parts with it, or have put others in their stead. It is left alone then,
		// and may still disturb: each other one once.
		for range 16 {
			if !errors.Is(err, errNoUpload) {
				break
			}
			err = a.upload(ctx, src, draft, true)
		}
		return err
	})
}

var errNoUpload = core.Errorf(core.ErrUnavailable, "the upload in parts is not there any more")

// A sending is one attempt to store one archive.
type sending struct {
	*agent
	ctx        context.Context // the call's
	key, token string
	alone      bool         // whether it goes on with nothing of others
	begun      bool         // whether there is an upload in parts under the token
	there      bool         // whether an archive is stored under the key
	have       map[int]held // parts that an earlier attempt left
	sums       []core.CRC64 // of the parts
	whole      *core.Sums
	broke      bool // whether the source failed, and not the place
}

func (a *agent) upload(ctx context.Context, src core.Source, draft core.Backup, alone bool) (err error) {
	s := &sending{agent: a, ctx: ctx, key: draft.Archive, token: a.tokens(), alone: alone, whole: core.NewSums(crc64nvme.New())}
	defer func() {
		if err != nil && !s.goesOn(err) {
			err = errors.Join(err, s.abort())
		}
	}()
	if err := a.free(ctx, draft.ID); err != nil {
		return err
	}
	if _, err := a.read(ctx, draft.ID); errors.Is(err, core.ErrDamaged) {
		return err
	}
	r := src.Reader(ctx)
	if err := s.begin(r); err != nil {
		return err
	}
	if err := s.send(r); err != nil {
		return err
	}
	sealed, err := src.Backup(ctx)
	if err != nil {
		s.broke = true
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

// goesOn says whether a later upload of the same may go on with the parts.
func (s *sending) goesOn(err error) bool {
	if s.ctx.Err() != nil {
		return true
	}
	switch core.KindOf(err) {
	case core.ErrChanged, core.ErrExists, core.ErrInvalid:
		return false
	}
	return !s.broke
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

// begin looks how far earlier attempts came: the archive is stored, or there is
// an upload that holds nothing but parts of this source, or one is begun.
func (s *sending) begin(r io.ReaderAt) error {
	_, err := s.stat(s.ctx, s.key)
	if s.there = err == nil; s.there || !errors.Is(err, core.ErrNotFound) {
		return err
	}
	if !s.alone {
		if ok, err := s.goOn(r); err != nil || ok {
			return err
		}
	}
	_, err = s.step(s.ctx, conformance.Step{Op: conformance.StepCreate, Key: s.temp()}, request{Op: begin, Key: s.key, Token: s.token})
	s.begun = err == nil
	return err
}

// goOn looks for an upload to go on with.
func (s *sending) goOn(r io.ReaderAt) (bool, error) {
	all, err := s.step(s.ctx, conformance.Step{Op: conformance.StepList, Key: s.key}, request{Op: uploads, Key: s.key})
	if err != nil {
		return false, err
	}
	for _, u := range all.Uploads {
		if u.Key != s.prefix+s.key {
			continue
		}
		if ok, err := s.resume(u.Token, r); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

// resume goes on with an upload if all its parts, and at least one, are of this
// source. One without parts may be another's that has just begun.
func (s *sending) resume(token string, r io.ReaderAt) (bool, error) {
	at, err := s.step(s.ctx, conformance.Step{Op: conformance.StepRead, Key: s.key}, request{Op: parts, Key: s.key, Token: token})
	if err != nil {
		return false, err
	}
	have := map[int]held{}
	for _, p := range at.Parts {
		crc := crc64nvme.New()
		n, err := io.Copy(crc, io.NewSectionReader(r, int64(p.Index)*PartSize, int64(p.Size)))
		if err != nil {
			s.broke = true
			return false, err
		}
		if n != int64(p.Size) || core.CRC64(crc.Sum64()) != p.Sum {
			return false, nil
		}
		have[p.Index] = p
	}
	if len(have) == 0 {
		return false, nil
	}
	s.token, s.have, s.begun = token, have, true
	return true, nil
}

// send stores the parts that the place does not hold, one after the other.
func (s *sending) send(r io.ReaderAt) error {
	in := io.NewSectionReader(r, 0, math.MaxInt64)
	buf := make([]byte, PartSize)
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
			s.broke = true
			return err
		}
	}
}

func (s *sending) temp() string { return s.key + ".parts-" + s.token }

func (s *sending) part(p []byte) error {
	_, _ = s.whole.Write(p) // never fails
	one := held{len(s.sums), len(p), sumOf(p)}
	s.sums = append(s.sums, one.Sum)
	if s.there || s.have[one.Index] == one {
		return nil
	}
	_, err := s.step(s.ctx, conformance.Step{Op: conformance.StepWrite, Key: s.temp(), Size: len(p)},
		request{Op: putPart, Key: s.key, Token: s.token, Index: one.Index, Data: p, Sums: []core.CRC64{one.Sum}})
	if errors.Is(err, core.ErrNotFound) {
		return errNoUpload
	}
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

// publish gives the archive its name, unless it has it from another attempt, or
// from this one, whose answer was lost.
func (s *sending) publish(sealed core.Backup) error {
	if s.there {
		return s.settleArchive(sealed)
	}
	for _, op := range []conformance.StepOp{conformance.StepSync, conformance.StepClose} {
		if err := s.pass(conformance.Step{Op: op, Key: s.temp()}); err != nil {
			return err
		}
	}
	_, err := s.step(s.ctx, conformance.Step{Op: conformance.StepPublish, Key: s.key, From: s.temp()},
		request{Op: commit, Key: s.key, Token: s.token, Sums: s.sums, Mode: fileMode})
	switch {
	case errors.Is(err, core.ErrExists), errors.Is(err, core.ErrNotFound):
		if err := s.settleArchive(sealed); err != nil {
			return err
		}
		if err := s.abort(); err != nil {
			return err
		}
	case errors.Is(err, core.ErrChanged): // another went on with the same upload, from other bytes
		return errors.Join(errNoUpload, s.abort())
	case err != nil:
		return err
	}
	return s.syncDir(s.key)
}

// settleArchive demands that the very same bytes are stored as the archive.
func (s *sending) settleArchive(sealed core.Backup) error {
	stored, err := s.stat(s.ctx, s.key)
	if errors.Is(err, core.ErrNotFound) {
		return errNoUpload
	}
	if err != nil {
		return err
	}
	if stored.Size == sealed.Size {
		r := (&archive{s.agent, sealed, stored.Version}).reader(s.ctx, 0, sealed.Size)
		_, err = io.Copy(io.Discard, r)
		err = errors.Join(err, r.Close())
	}
	if stored.Size != sealed.Size || errors.Is(err, core.ErrDamaged) {
		return core.Errorf(core.ErrExists, "other bytes are stored under this id")
	}
	return err
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

// abort removes the parts.
func (s *sending) abort() error {
	if !s.begun {
		return nil
	}
	_, err := s.step(s.ctx, conformance.Step{Op: conformance.StepRemove, Key: s.temp()}, request{Op: abort, Key: s.key, Token: s.token})
	return err
}
