package object

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transfer"
)

// Upload stores the archive and then the metadata of src.
func (a *Agent) Upload(ctx context.Context, src core.Source) error {
	draft := src.Draft()
	c, err := a.begin(ctx, opUpload, draft.ID)
	if err != nil {
		return err
	}
	defer c.end()
	if err := draft.ValidateDraft(); err != nil {
		return c.error(err)
	}
	u := &upload{call: c, src: src, draft: draft}
	err = u.run()
	if source := u.failed.load(); err != nil && source != nil && !errors.Is(err, source) {
		err = source // whatever a driver made of it
	}
	return c.error(err)
}

// An upload is one Upload on its way.
type upload struct {
	*call
	src    core.Source
	draft  core.Backup
	failed firstError // of the source
	token  string     // marks what this upload makes

	size int64      // of the archive, as it was sent
	sum  core.CRC64 // of all its bytes
	made bool       // whether this upload made the object under the archive's key
	done atomic.Int64
	all  atomic.Int64 // bytes in all, as far as is known
}

// run uploads, and once more where another upload of the same id, which came to
// its end meanwhile, took the parts away: now it finds the backup there.
func (u *upload) run() error {
	err := u.once()
	if errors.Is(err, core.ErrNotFound) && u.failed.load() == nil {
		u.done.Store(0)
		err = u.once()
	}
	return err
}

func (u *upload) once() error {
	if err := u.free(); err != nil {
		return err
	}
	if _, err := u.agent.store.Stat(u, metaKey(u.id)); err == nil {
		b, err := u.src.Backup(u)
		if err != nil {
			return err
		}
		return u.sameBackup(b)
	} else if !absent(err) {
		return err
	}
	b, err := u.archive()
	if err != nil {
		return err
	}
	if err := u.commit(b); err != nil {
		return err
	}
	return u.takeBack(u.free())
}

// absent says that there is nothing under a key, be it that the place itself is
// made by the upload.
func absent(err error) bool {
	return errors.Is(err, core.ErrNotFound) || errors.Is(err, core.ErrNoPlace)
}

var errGone = errors.New("this id was deleted on purpose; a new backup needs a new id")

// free answers ErrExists when the id is marked as gone.
func (u *upload) free() error {
	_, err := u.agent.store.Stat(u, goneKey(u.id))
	switch {
	case err == nil:
		return core.Errorf(core.ErrExists, "%w", errGone)
	case absent(err):
		return nil
	}
	return err
}

// takeBack removes what this upload committed when the id was deleted meanwhile.
func (u *upload) takeBack(err error) error {
	if !errors.Is(err, errGone) {
		return err
	}
	return errors.Join(err, u.agent.store.Delete(u, metaKey(u.id)), u.agent.store.Delete(u, u.draft.Archive))
}

// archive sends the archive and returns the metadata that fits it.
func (u *upload) archive() (core.Backup, error) {
	if err := u.newToken(); err != nil {
		return core.Backup{}, err
	}
	limits := u.agent.store.Limits()
	part := limits.Plan(u.draft.Size)
	if u.draft.Size <= part {
		// One byte more than a part shows whether one is enough.
		crc := crc64nvme.New()
		n, err := transfer.Sum(io.NewSectionReader(u.reader(u), 0, part+1), crc, make([]byte, 256<<10))
		if err != nil {
			return core.Backup{}, err
		}
		if n <= part {
			u.size, u.sum = n, core.CRC64(crc.Sum64())
			return u.whole()
		}
	}
	return u.inParts(transfer.Send{Source: u.reader, Limits: limits, PartSize: part, Done: u.progress})
}

func (u *upload) newToken() error {
	var raw [10]byte
	if _, err := io.ReadFull(u.agent.env.Chance, raw[:]); err != nil {
		return fmt.Errorf("no chance for a token: %w", err)
	}
	u.token = strings.ToLower(base32.StdEncoding.EncodeToString(raw[:]))
	return nil
}

func (u *upload) progress(n int64) {
	u.agent.env.Progress(core.Progress{Agent: u.agent.Name(), ID: u.id, Done: u.done.Add(n), Total: u.all.Load()})
}

// expect learns how many bytes there are in all when the source is sealed, which
// may be while its first parts are on their way. The caller calls stop.
func (u *upload) expect() (stop func()) {
	u.all.Store(u.draft.Size)
	ctx, cancel := context.WithCancel(u)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if b, err := u.src.Backup(ctx); err == nil {
			u.all.Store(b.Size)
			u.progress(0)
		}
	}()
	return func() { cancel(); <-ended }
}

// whole stores a small archive in one request.
func (u *upload) whole() (core.Backup, error) {
	b, err := u.sealed()
	if err != nil {
		return core.Backup{}, err
	}
	o, err := u.agent.store.Put(u, b.Archive, io.NewSectionReader(u.reader(u), 0, u.size), u.sum)
	if err = u.settle(b, o, err); err != nil {
		return core.Backup{}, err
	}
	u.all.Store(u.size)
	u.progress(u.size)
	return b, nil
}

// inParts stores an archive in parts, going on with an earlier upload of the same
// bytes where there is one.
func (u *upload) inParts(send transfer.Send) (core.Backup, error) {
	parts, err := u.resume(&send)
	if err == nil && parts == nil {
		parts, err = u.agent.store.Begin(u, u.draft.Archive, u.token)
	}
	if err != nil {
		return core.Backup{}, err
	}
	send.Put = parts.Put
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
	if err = u.settle(b, o, err); err != nil {
		return core.Backup{}, u.giveUp(parts, err)
	}
	return b, u.tidy()
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

// tidy removes other uploads in parts of the archive that is stored now.
func (u *upload) tidy() error {
	var all []Multipart
	for m, err := range u.agent.store.Multiparts(u, u.draft.Archive) {
		if err != nil {
			return err
		}
		if m.Key() == u.draft.Archive {
			all = append(all, m)
		}
	}
	for _, m := range all {
		if err := m.Abort(u); err != nil {
			return err
		}
	}
	return nil
}

// sealed waits for the metadata and compares it with what was read.
func (u *upload) sealed() (core.Backup, error) {
	b, err := u.src.Backup(u)
	if err != nil {
		return core.Backup{}, err
	}
	if _, err := b.Encode(); err != nil {
		return core.Backup{}, err
	}
	if b.ID != u.id || b.Archive != u.draft.Archive {
		return core.Backup{}, core.Errorf(core.ErrInvalid, "the source sealed %s as %s", u.draft.Archive, b.Archive)
	}
	if b.Size != u.size {
		return core.Backup{}, core.Errorf(core.ErrChanged, "the source gave %d bytes, its metadata says %d", u.size, b.Size)
	}
	if sum, has := b.Chunks.Whole(b.Size); has && sum != u.sum {
		return core.Backup{}, core.Errorf(core.ErrChanged, "the source's bytes do not match the checksums of its metadata")
	}
	if !b.OnePass() {
		return b, u.compareSHA256(b, core.NewReader(u, u.src), core.ErrChanged)
	}
	return b, nil
}

func (u *upload) compareSHA256(b core.Backup, r io.Reader, kind core.ErrorKind) error {
	sum := sha256.New()
	n, err := io.CopyBuffer(sum, struct{ io.Reader }{r}, make([]byte, 256<<10))
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != b.Size || got != b.SHA256 {
		return core.Errorf(kind, "%d bytes with SHA-256 %s, the metadata says %d and %s", n, got, b.Size, b.SHA256)
	}
	return nil
}

// settle finds out whether the archive is stored, after a commit that may have
// failed, lost its answer, or come second.
func (u *upload) settle(b core.Backup, o Object, commit error) error {
	if commit == nil {
		u.made = true
	} else {
		if u.Err() != nil {
			return commit
		}
		var err error
		if o, err = u.agent.store.Stat(u, b.Archive); err != nil {
			return commit
		}
	}
	if o.Size != b.Size && commit == nil {
		return core.Errorf(core.ErrDamaged, "%s was stored with %d bytes, not %d", b.Archive, o.Size, b.Size)
	}
	if commit == nil {
		return nil
	}
	same, err := u.sameArchive(b, o)
	if err != nil {
		return errors.Join(commit, err)
	}
	if !same {
		return core.Errorf(core.ErrExists, "%s is there with other bytes", b.Archive)
	}
	u.made = u.token != "" && o.Token == u.token
	return nil
}

// sameArchive says whether a stored archive is the one that b describes.
func (u *upload) sameArchive(b core.Backup, o Object) (bool, error) {
	if o.Size != b.Size {
		return false, nil
	}
	if o.Size == 0 || u.token != "" && o.Token == u.token {
		return true, nil
	}
	if o.Summed {
		return o.Sum == u.sum, nil
	}
	r, err := u.agent.store.Range(u, o, 0, o.Size)
	if err != nil {
		return false, err
	}
	err = errors.Join(u.compareSHA256(b, r, core.ErrExists), r.Close())
	if errors.Is(err, core.ErrExists) {
		return false, nil
	}
	return err == nil, err
}

// commit stores the metadata.
func (u *upload) commit(b core.Backup) error {
	doc, err := b.Encode()
	if err != nil {
		return err
	}
	body := io.NewSectionReader(bytes.NewReader(doc), 0, int64(len(doc)))
	_, err = u.agent.store.Put(u, metaKey(u.id), body, core.CRC64(crc64nvme.Checksum(doc)))
	if err == nil || u.Err() != nil {
		return err
	}
	same := u.sameBackup(b)
	if errors.Is(same, core.ErrNotFound) {
		return err
	}
	return same
}

// sameBackup answers nil when the id is stored with the size and SHA-256 of b,
// ErrExists when it is stored otherwise. An archive that this upload made for
// nothing is removed.
func (u *upload) sameBackup(b core.Backup) error {
	o, err := u.agent.store.Stat(u, metaKey(u.id))
	if err != nil {
		return err
	}
	stored, err := u.agent.read(u, u.id, o)
	if err == nil && stored.Size == b.Size && stored.SHA256 == b.SHA256 {
		return nil
	}
	if err != nil && !errors.Is(err, core.ErrDamaged) && !errors.Is(err, core.ErrUnsupported) {
		return err
	}
	if err == nil {
		err = core.Errorf(core.ErrExists, "stored already with %d bytes, SHA-256 %s", stored.Size, stored.SHA256)
	} else {
		err = core.Errorf(core.ErrExists, "stored already, with metadata that is not understood: %w", err)
	}
	if u.made && stored.Archive != b.Archive {
		err = errors.Join(err, u.agent.store.Delete(u, b.Archive))
	}
	return err
}

// reader reads the source until ctx ends, and remembers the source's own error,
// which must not get lost in what a driver makes of it.
func (u *upload) reader(ctx context.Context) io.ReaderAt {
	return sourceReader{ctx, u.src.Reader(ctx), &u.failed}
}

type sourceReader struct {
	ctx    context.Context
	source io.ReaderAt
	failed *firstError
}

func (r sourceReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.source.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) && r.ctx.Err() == nil {
		r.failed.store(err)
	}
	return n, err
}

// A firstError keeps the first error that it is given.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (e *firstError) store(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
}

func (e *firstError) load() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}
