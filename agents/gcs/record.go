package gcs

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/offsite-backup/offsite/core"
)

// A record is what a session needs to be gone on with by another process: where it is,
// which is a secret, and what was sent in which order, each part written down before its
// first byte goes. Without a state folder it lives as long as the upload.
type record struct {
	recordHead
	lines []line
	file  string // "" where there is none
	busy  bool   // whether another upload has it
	lock  *flock.Flock
}

type recordHead struct {
	Place   string    `json:"place"`
	Key     string    `json:"key"`
	Token   string    `json:"token"`
	Started time.Time `json:"started"`
	Target  string    `json:"target"` // path and query of the session's URL
}

// A line is a part that was begun.
type line struct {
	Index int        `json:"index"`
	Size  int64      `json:"size"`
	Sum   core.CRC64 `json:"crc64"`
	CRC   crc32c     `json:"crc32c"`
}

func (s *store) recordDir() string { return filepath.Join(s.env.StateDir, "gcs-sessions") }

// newRecord writes down a session that has begun. It is this upload's as long as ctx
// lives, which is that of the upload.
func (s *store) newRecord(ctx context.Context, head recordHead) (*record, error) {
	head.Place = s.config.Place()
	r := &record{recordHead: head}
	if s.env.StateDir == "" {
		return r, nil
	}
	if err := os.MkdirAll(s.recordDir(), 0o700); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(head.Place + "\x00" + head.Key + "\x00" + head.Token))
	r.file = filepath.Join(s.recordDir(), hex.EncodeToString(sum[:8]))
	doc, err := json.Marshal(head)
	if err == nil {
		err = os.WriteFile(r.file, append(doc, '\n'), 0o600)
	}
	if err == nil {
		err = r.claim(ctx)
	}
	return r, err
}

// claim makes a record this upload's, unless another has it.
func (r *record) claim(ctx context.Context) error {
	r.lock = flock.New(r.file+".lock", flock.SetPermissions(0o600))
	ok, err := r.lock.TryLock()
	if r.busy = !ok; ok {
		context.AfterFunc(ctx, func() { _ = r.lock.Unlock() }) // it ends with the process anyway
	}
	return err
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
	r.lines = append(slices.Clip(r.lines[:l.Index]), l)
	return r.save()
}

// save writes the record anew, so that what a crash leaves is the one or the other.
func (r *record) save() error {
	if r.file == "" {
		return nil
	}
	var doc bytes.Buffer
	to := json.NewEncoder(&doc)
	err := to.Encode(r.recordHead)
	for _, l := range r.lines {
		err = errors.Join(err, to.Encode(l))
	}
	if err == nil {
		err = os.WriteFile(r.file+".new", doc.Bytes(), 0o600)
	}
	if err == nil {
		err = os.Rename(r.file+".new", r.file)
	}
	return err
}

// forget removes it. What cannot be removed is found to be over the next time.
func (r *record) forget() {
	if r.file != "" {
		_ = os.Remove(r.file)
		if r.lock != nil {
			_ = r.lock.Unlock()
		}
		_ = os.Remove(r.file + ".lock")
	}
}

// records yields those of this place, of keys that begin with prefix.
func (s *store) records(ctx context.Context, prefix string) iter.Seq2[*record, error] {
	return func(yield func(*record, error) bool) {
		if s.env.StateDir == "" {
			return
		}
		entries, err := os.ReadDir(s.recordDir())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			yield(nil, err)
			return
		}
		for _, e := range entries {
			if filepath.Ext(e.Name()) != "" {
				continue
			}
			r := &record{file: filepath.Join(s.recordDir(), e.Name())}
			if r.load() != nil || r.Place != s.config.Place() || !strings.HasPrefix(r.Key, prefix) {
				continue // another's, or none: the upload begins anew
			}
			err := r.claim(ctx)
			if err == nil && r.load() != nil { // it may have grown before it was ours, or ended
				continue
			}
			if !yield(r, err) {
				return
			}
		}
	}
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
		if err := json.Unmarshal(in.Bytes(), &l); err != nil || l.Index != len(r.lines) {
			break
		}
		r.lines = append(r.lines, l)
	}
	return nil
}
