package gcs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/offsite-backup/offsite/core"
)

// A record is what a session needs to be gone on with by another process: where it is,
// which is a secret, and what was sent in which order, each part written down before its
// first byte goes. Without a state folder it is its upload's alone.
type record struct {
	recordHead
	lines []line
	file  string       // "" where there is none
	lock  *flock.Flock // nil where there is no file
}

type recordHead struct {
	Place   string    `json:"place"`
	Key     string    `json:"key"`
	Token   string    `json:"token"`
	Started time.Time `json:"started"`
	Target  string    `json:"target"` // path and query of the session's URL
}

// A line is a part that was begun. It ends those of its index and above that stand
// before it: of them, the server has nothing.
type line struct {
	Index int        `json:"index"`
	Size  int64      `json:"size"`
	Sum   core.CRC64 `json:"crc64"`
	CRC   crc32c     `json:"crc32c"`
}

func (s *store) recordDir() string { return filepath.Join(s.env.StateDir, "gcs-sessions") }

// recordAt is the record in a file, of which nothing is read yet.
func recordAt(file string) *record {
	return &record{file: file, lock: flock.New(file+".lock", flock.SetPermissions(0o600))}
}

// newRecord writes down a session that has begun.
func (s *store) newRecord(head recordHead) (*record, error) {
	head.Place = s.config.Place()
	if s.env.StateDir == "" {
		s.begun.Store(head.Token, head)
		return &record{recordHead: head}, nil
	}
	if err := os.MkdirAll(s.recordDir(), 0o700); err != nil {
		return nil, err
	}
	r := recordAt(filepath.Join(s.recordDir(), head.Token))
	r.recordHead = head
	doc, err := json.Marshal(head)
	if err == nil {
		err = os.WriteFile(r.file, doc, 0o600)
	}
	return r, err
}

// add writes down a part that is about to be sent. begun says that the server has bytes
// of it: then it has to be the one that was written down.
func (r *record) add(l line, begun bool) error {
	if l.Index < len(r.lines) && r.lines[l.Index] == l {
		return nil
	}
	if begun || l.Index > len(r.lines) {
		return core.Errorf(core.ErrChanged, "the source gives other bytes than when part %d was begun", l.Index)
	}
	r.lines = append(r.lines[:l.Index], l)
	if r.file == "" {
		return nil
	}
	doc, err := json.Marshal(l)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(r.file, os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return core.Errorf(core.ErrNotFound, "the session has ended: %w", err)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(append([]byte{'\n'}, doc...)) // which ends what a crash cut off
	return errors.Join(err, f.Close())
}

// forget removes it. What cannot be removed is found to be over the next time.
func (s *store) forget(r *record) {
	s.begun.Delete(r.Token)
	if r.file != "" {
		_ = os.Remove(r.file)
		_ = r.lock.Unlock()
		_ = os.Remove(r.file + ".lock")
	}
}

// records are those of this place, of keys that begin with prefix.
func (s *store) records(prefix string) (all []*record, err error) {
	ours := func(h recordHead) bool { return h.Place == s.config.Place() && strings.HasPrefix(h.Key, prefix) }
	if s.env.StateDir == "" {
		s.begun.Range(func(_, v any) bool {
			if head := v.(recordHead); ours(head) {
				all = append(all, &record{recordHead: head})
			}
			return true
		})
		return all, nil
	}
	entries, err := os.ReadDir(s.recordDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		r := recordAt(filepath.Join(s.recordDir(), e.Name()))
		if filepath.Ext(e.Name()) == "" && r.load() == nil && ours(r.recordHead) { // else another's, or none
			all = append(all, r)
		}
	}
	return all, nil
}

// load reads the head and the lines that are whole.
func (r *record) load() error {
	doc, err := os.ReadFile(r.file)
	if err != nil {
		return err
	}
	in := bufio.NewScanner(bytes.NewReader(doc))
	in.Scan()
	if err := json.Unmarshal(in.Bytes(), &r.recordHead); err != nil {
		return err
	}
	r.lines = nil
	for in.Scan() {
		var l line
		if json.Unmarshal(in.Bytes(), &l) == nil && l.Index >= 0 && l.Index <= len(r.lines) {
			r.lines = append(r.lines[:l.Index], l)
		}
	}
	return nil
}

var errBusy = core.Errorf(core.ErrNotFound, "another upload has this session")

// A claim is that of an upload of this store on a record.
type claim struct {
	life context.Context // of the upload
	lock *flock.Flock
}

// free answers errBusy where an upload has the record.
func (s *store) free(r *record) error {
	if err := s.hold(r, (*flock.Flock).TryRLock); err != nil {
		return err
	}
	return r.lock.Unlock()
}

// claim makes a record an upload's, which lives as long as ctx.
func (s *store) claim(ctx context.Context, r *record) error {
	if err := s.hold(r, (*flock.Flock).TryLock); err != nil {
		return err
	}
	c := &claim{ctx, r.lock}
	s.claims.Store(r.Token, c)
	context.AfterFunc(ctx, func() {
		s.claims.CompareAndDelete(r.Token, c)
		_ = c.lock.Unlock() // it ends with the process anyway
	})
	return nil
}

// hold locks a record and reads what it has become meanwhile. One that was forgotten is
// ErrNotFound. The claim of an upload that has ended is none, although what unlocks it
// may not have run yet.
func (s *store) hold(r *record, try func(*flock.Flock) (bool, error)) error {
	if r.lock == nil {
		return errBusy
	}
	if c, ok := s.claims.Load(r.Token); ok && c.(*claim).life.Err() != nil {
		if err := c.(*claim).lock.Unlock(); err != nil {
			return err
		}
	}
	if ok, err := try(r.lock); err != nil {
		return err
	} else if !ok {
		return errBusy
	}
	if err := r.load(); err != nil {
		_ = r.lock.Unlock()
		_ = os.Remove(r.file + ".lock")
		return core.Errorf(core.ErrNotFound, "the session is through: %w", err)
	}
	return nil
}
