package object

import (
	"bytes"
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strings"
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
	defer c.limit(a.env.Patience.Total)()
	u := &upload{call: c, src: src, draft: draft}
	err = u.run()
	if source := u.failed.load(); err != nil && source != nil {
		return c.source(source) // whatever a driver made of it
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
	alone  bool       // whether it goes on with nothing that others may send to
	copies bool       // whether the source's file could not be shared

	size int64      // of the archive, as it was sent
	sum  core.CRC64 // of all its bytes
	made bool       // whether this upload made the object under the archive's key
	done atomic.Int64
	all  atomic.Int64 // bytes in all, as far as is known
}

// tries is how often an upload begins when others get into its way.
const tries = 3

// run uploads, and anew where another upload of the same id, which came to its end
// meanwhile, took the parts or its metadata away, or mixed its own with them: then it
// finds the backup there, or sends parts that nobody else knows of. Where the source's file
// turned out not to be shared, its bytes are sent.
func (u *upload) run() (err error) {
	for range tries {
		err = u.once()
		mixed, unshared := errors.Is(err, errMixed), errors.Is(err, errUnshared)
		again := mixed || unshared || errors.Is(err, errTaken) || errors.Is(err, core.ErrNotFound)
		if u.failed.load() != nil || !again {
			break
		}
		u.alone, u.copies = mixed, u.copies || unshared
		u.done.Store(0)
	}
	return err
}

var errMixed = errors.New("another upload of the same id changed its parts")

// errTaken is of a name at which there is nothing to look at: whoever had it has taken
// it back, or it is and stays that of something else, such as a directory.
var errTaken = errors.New("its name is taken by what is no backup")

func (u *upload) once() error {
	if err := u.free(); err != nil {
		return err
	}
	if _, err := u.agent.store.Stat(u, metaKey(u.id)); err == nil {
		b, err := u.backup()
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
	u.done.Store(b.Size)
	u.all.Store(b.Size)
	u.progress(0)
	if err := u.commit(b); err != nil {
		return err
	}
	return u.takeBack(u.confirm(b))
}

// confirm looks once more at what a commit rests on: the id was not deleted
// meanwhile, and no sweep took the archive for one that nobody wants.
func (u *upload) confirm(b core.Backup) error {
	if err := u.free(); err != nil {
		return err
	}
	_, err := u.agent.archiveOf(u, b, nil)
	return err
}

// takeBack removes what this upload committed where that does not hold. An
// archive that is gone is ErrNotFound: the upload can start over.
func (u *upload) takeBack(err error) error {
	switch {
	case errors.Is(err, errGone):
		return errors.Join(err, u.agent.store.Delete(u, metaKey(u.id)), u.agent.store.Delete(u, u.draft.Archive))
	case errors.Is(err, errNoArchive):
		if err := u.agent.store.Delete(u, metaKey(u.id)); err != nil {
			return err
		}
		return core.Errorf(core.ErrNotFound, "%w", err)
	}
	return err
}

// archive sends the archive and returns the metadata that fits it.
func (u *upload) archive() (core.Backup, error) {
	if err := u.newToken(); err != nil {
		return core.Backup{}, err
	}
	limits := u.agent.store.Limits()
	part := limits.Plan(u.draft.Size)
	send := transfer.Send{Source: u.reader, Limits: limits, PartSize: part, Done: u.progress}
	if file, err := u.share(); err != nil {
		return core.Backup{}, err
	} else if file != nil {
		return u.shared(file, send)
	}
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
	return u.inParts(send)
}

func (u *upload) newToken() (err error) {
	u.token, err = u.agent.newToken()
	return err
}

func (a *Agent) newToken() (string, error) {
	var raw [10]byte
	if _, err := io.ReadFull(a.env.Chance, raw[:]); err != nil {
		return "", fmt.Errorf("no chance for a token: %w", err)
	}
	return strings.ToLower(base32.StdEncoding.EncodeToString(raw[:])), nil
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
	body := io.NewSectionReader(u.reader(u), 0, u.size)
	o, err := u.agent.store.Put(u, b.Archive, u.limited(u, body), u.sum)
	return b, u.settle(b, o, err)
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
			return unknown(commit, err)
		}
	}
	if commit == nil && (o.Size != b.Size || o.Summed && o.Sum != u.sum) {
		err := core.Errorf(core.ErrDamaged, "%s was stored as %d bytes that are not the ones that were sent", b.Archive, o.Size)
		return errors.Join(err, u.agent.store.Delete(u, b.Archive))
	}
	if commit == nil {
		return nil
	}
	same, err := u.sameArchive(b, o)
	if err != nil {
		return unknown(commit, err)
	}
	if !same {
		return core.Errorf(core.ErrExists, "%s is there with other bytes", b.Archive)
	}
	u.made = u.token != "" && o.Token == u.token
	return u.agent.settled(u, b.Archive)
}

// unknown is why nobody knows whether the archive is there, after a commit and a look
// that failed. That the key is taken does not say that it is taken by another.
func unknown(commit, look error) error {
	if errors.Is(commit, core.ErrExists) {
		return look
	}
	return commit
}

// sameArchive says whether a stored archive is the one that b describes. The token
// proves nothing: whoever goes on with an upload has the same.
func (u *upload) sameArchive(b core.Backup, o Object) (bool, error) {
	if o.Size != b.Size {
		return false, nil
	}
	if o.Size == 0 {
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
		if errors.Is(err, core.ErrExists) {
			err = fmt.Errorf("%w: %w", errTaken, err)
		}
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
	stored, _, err := u.agent.read(u, u.id, o)
	if err == nil && stored.Size == b.Size && stored.SHA256 == b.SHA256 {
		if _, err := u.agent.archiveOf(u, stored, nil); err != nil {
			return err
		}
		return u.agent.settled(u, stored.Archive, metaKey(u.id))
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
