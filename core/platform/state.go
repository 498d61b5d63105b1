package platform

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"

	"github.com/offsite-backup/offsite/core"
)

// A record is what the state folder knows of one run or upload: enough to clear
// up after it, or to go on with it, when its process was killed.
type record struct {
	V       int       `json:"v"`
	ID      core.ID   `json:"id"`
	Job     string    `json:"job,omitzero"`
	Created time.Time `json:"created"`
	Agents  []string  `json:"agents"`         // where something of it may be left
	Spool   string    `json:"spool,omitzero"` // the archive
	Keep    time.Time `json:"keep,omitzero"`  // how long the archive waits for agents, once it is packed

	// Of an upload, which can go on while the file is the same: the file, and what
	// its metadata says besides.
	File   *fileID     `json:"file,omitzero"`
	Label  string      `json:"label,omitzero"`
	Tags   core.Tags   `json:"tags,omitzero"`
	Origin core.Origin `json:"origin,omitzero"`
}

// A fileID says whether a file is still the same.
type fileID struct {
	Path  string    `json:"path"` // absolute
	Size  int64     `json:"size"`
	Time  time.Time `json:"time"`
	Inode uint64    `json:"inode,omitzero"`
}

// What lies in the folder of an entry besides its record.
const (
	hooksDir   = "hooks"        // what hooks dumped
	ledgerFile = "ledger.jsonl" // its steps
	sealedFile = "backup.json"  // the metadata of an archive that is packed and on disk
)

// keepUploads is how long an unfinished upload of a file may be gone on with.
const keepUploads = 7 * 24 * time.Hour

// A state is the state folder.
type state struct{ dir string }

// An entry is a record of the state folder, held by this process.
type entry struct {
	record
	state  *state
	lock   *flock.Flock
	ledger *ledger // nil until open
	owes   bool    // whether hooks were begun and not undone, when it was taken
}

func (s *state) runs() string               { return filepath.Join(s.dir, "runs") }
func (s *state) folder(id core.ID) string   { return filepath.Join(s.runs(), string(id)) }
func (e *entry) folder() string             { return e.state.folder(e.ID) }
func (e *entry) path(name string) string    { return filepath.Join(e.folder(), name) }
func (s *state) lockFile(id core.ID) string { return filepath.Join(s.folder(id), "lock") }

// whole runs f while no other process makes or ends a record.
func (s *state) whole(f func() error) (err error) {
	if s.dir == "" {
		return core.Errorf(core.ErrInvalid, "no state folder")
	}
	if err := os.MkdirAll(s.runs(), 0o700); err != nil {
		return err
	}
	lock := flock.New(filepath.Join(s.dir, "lock"), flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	return f()
}

// create makes the record of a new run and holds it. Of one that cannot be made nothing
// stays.
func (s *state) create(r record, now func() time.Time) (e *entry, err error) {
	err = s.whole(func() error {
		if err := os.Mkdir(s.folder(r.ID), 0o700); errors.Is(err, fs.ErrExist) {
			return core.Errorf(core.ErrExists, "%s runs in another process, or an upload of it from another file is not finished: see %s", r.ID, s.folder(r.ID))
		} else if err != nil {
			return err
		}
		if e, err = s.begin(r, now); err != nil {
			return errors.Join(err, os.RemoveAll(s.folder(r.ID)))
		}
		return nil
	})
	return e, err
}

// begin makes the record in a folder that is new.
func (s *state) begin(r record, now func() time.Time) (*entry, error) {
	if err := syncDir(s.runs()); err != nil {
		return nil, err
	}
	e, err := s.hold(r.ID)
	if err != nil {
		return nil, err
	}
	e.record = r
	if err = e.save(); err == nil {
		err = e.open(now)
	}
	if err == nil {
		err = e.ledger.note(step{Step: stepBegun, Job: r.Job})
	}
	if err != nil {
		return nil, errors.Join(err, e.release())
	}
	return e, nil
}

// open opens the ledger to go on in it.
func (e *entry) open(now func() time.Time) (err error) {
	if e.ledger == nil {
		e.ledger, err = openLedger(e.path(ledgerFile), now)
	}
	return err
}

// hold takes the record of an id, or nil when a process has it.
func (s *state) hold(id core.ID) (*entry, error) {
	lock := flock.New(s.lockFile(id), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil || !ok {
		return nil, errors.Join(err, lock.Close())
	}
	return &entry{record: record{ID: id}, state: s, lock: lock}, nil
}

// dead takes the records that no process holds of what is over, of what owes
// something, and of what want says. The others are free again before anyone else
// looks. The caller releases what it gets. broken says which records cannot be
// understood: they stop nobody.
func (s *state) dead(now time.Time, want func(*entry) bool) (taken []*entry, broken []error, err error) {
	err = s.whole(func() error {
		folders, err := os.ReadDir(s.runs())
		if err != nil {
			return err
		}
		for _, f := range folders {
			id, err := core.ParseID(f.Name())
			if err != nil || !f.IsDir() {
				continue
			}
			e, err := s.take(id)
			switch {
			case err != nil:
				broken = append(broken, fmt.Errorf("state of %s: %w", id, err))
			case e == nil:
			case e.owes || !e.unfinished(now) || want(e):
				taken = append(taken, e)
			default:
				if err := e.release(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		for _, e := range taken {
			err = errors.Join(err, e.release())
		}
		return nil, broken, err
	}
	return taken, broken, nil
}

// take holds the record of an id and reads it; nil when a process has it.
func (s *state) take(id core.ID) (*entry, error) {
	e, err := s.hold(id)
	if err != nil || e == nil {
		return nil, err
	}
	if err := e.load(); err != nil {
		return nil, errors.Join(err, e.release())
	}
	return e, nil
}

// load reads the record and what it owes. One that was killed before it had any has nothing to be
// cleared up elsewhere.
func (e *entry) load() error {
	doc, err := os.ReadFile(e.path("run.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r := e.record
	if err := json.Unmarshal(doc, &r); err != nil {
		return fmt.Errorf("%s: %w", e.path("run.json"), err)
	}
	if r.ID != e.ID {
		return fmt.Errorf("%s is of another run, %q", e.path("run.json"), r.ID)
	}
	e.record = r
	steps, err := readLedger(e.path(ledgerFile))
	e.owes = len(owed(steps)) > 0
	return err
}

// save puts the record on disk before it is relied on.
func (e *entry) save() error {
	e.V = 1
	doc, err := json.MarshalIndent(e.record, "", " ")
	if err != nil {
		return err
	}
	return writeSynced(e.path("run.json"), append(doc, '\n'))
}

// release lets another process take the record.
func (e *entry) release() error {
	if e.ledger != nil {
		return errors.Join(e.ledger.close(), e.lock.Close())
	}
	return e.lock.Close()
}

// empty removes what is of no use without the process that made it.
func (e *entry) empty() error {
	err := os.RemoveAll(e.path(hooksDir))
	if e.Spool == "" {
		return err
	}
	if spool := os.Remove(e.Spool); !errors.Is(spool, fs.ErrNotExist) {
		err = errors.Join(err, spool)
	}
	return err
}

// remove ends the record and all that lies in its folder, unless something of it
// lies elsewhere and stays.
func (e *entry) remove() error {
	return e.state.whole(func() error {
		if err := errors.Join(e.unseal(), e.empty()); err != nil {
			return errors.Join(err, e.release())
		}
		return errors.Join(e.archive(), e.release(), os.RemoveAll(e.folder()))
	})
}

// settle removes the record when no agent can have anything left of it, else
// keeps it for the next command.
func (e *entry) settle(clean []string) error {
	e.Agents = slices.DeleteFunc(e.Agents, func(name string) bool { return slices.Contains(clean, name) })
	return e.end()
}

// end removes a record that names no agent any more and owes nothing, else keeps it.
func (e *entry) end() error {
	steps, err := readLedger(e.path(ledgerFile))
	if err == nil && len(e.Agents) == 0 && len(owed(steps)) == 0 {
		return e.remove()
	}
	return errors.Join(err, e.save(), e.release())
}

// unfinished says whether the record is of an archive that waits for agents, or of
// an upload that may be gone on with. A file that is another by now, or gone, cannot
// be gone on with.
func (e *entry) unfinished(now time.Time) bool {
	if e.waits(now) {
		return true
	}
	if e.File == nil || now.Sub(e.Created) >= keepUploads {
		return false
	}
	is, err := identify(e.File.Path)
	return err != nil && !errors.Is(err, fs.ErrNotExist) || e.File.same(is)
}

// same says whether two descriptions are of one file.
func (f *fileID) same(g *fileID) bool {
	return f != nil && g != nil && f.Path == g.Path && f.Size == g.Size && f.Time.Equal(g.Time) && f.Inode == g.Inode
}

func identify(path string) (*fileID, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, err
	}
	return &fileID{abs, info.Size(), info.ModTime().UTC(), inode(info)}, nil
}

// writeSynced replaces a file, whole and on disk when it returns.
func writeSynced(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync() // not every system can
	return d.Close()
}
