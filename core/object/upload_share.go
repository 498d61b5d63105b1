package object

import (
	"errors"
	"fmt"
	"io"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transfer"
)

var errUnshared = errors.New("the source's file cannot be shared")

// share begins an object that is the source's own file, or shares its bytes. It is
// nil where nothing but a copy will do, which is known while the source is still
// packed: copying does not wait for its end.
func (u *upload) share() (Multipart, error) {
	file, sealed := u.src.(core.SealedFile)
	store, can := u.agent.store.(Sharer)
	if !sealed || !can || u.copies {
		return nil, nil
	}
	// Of a source that never has a byte, nothing is to be found at the place.
	if n, err := u.reader(u).ReadAt(make([]byte, 1), 0); n == 0 && errors.Is(err, io.EOF) {
		return nil, nil
	} else if n == 0 {
		return nil, err
	}
	if _, err := u.agent.store.Stat(u, u.draft.Archive); !absent(err) {
		return nil, err // what is there already is compared with the source
	}
	parts, err := store.Share(u, u.draft.Archive, u.token, file.SealedFile())
	if errors.Is(err, core.ErrUnsupported) {
		u.agent.env.Log.DebugContext(u, "an archive is copied", "agent", u.agent.Name(), "id", u.id, "because", err)
		return nil, nil
	}
	return parts, err
}

// shared makes the source's file the archive, while its bytes are read behind those
// who pack it, and compared as if they were sent.
func (u *upload) shared(parts Multipart, send transfer.Send) (core.Backup, error) {
	b, err := u.through(parts, send)
	if err == nil {
		return b, nil
	}
	if errors.Is(err, core.ErrUnsupported) {
		err = fmt.Errorf("%w: %w", errUnshared, err)
	}
	return b, errors.Join(err, parts.Abort(u))
}
