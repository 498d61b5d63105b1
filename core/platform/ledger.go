package platform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// A step is one line of a ledger: what is about to be done, or has been. A line is
// on disk before what depends on it happens.
type step struct {
	At    time.Time `json:"at"`
	Step  stepKind  `json:"step"`
	Hook  string    `json:"hook,omitempty"`
	Agent string    `json:"agent,omitempty"`
	Error string    `json:"error,omitempty"` // why it went wrong, where it did

	// Of a hook that is begun: what another process needs to undo it.
	Debt    json.RawMessage `json:"debt,omitempty"`
	Undoes  bool            `json:"undoes,omitempty"` // whether it has a post
	Timeout time.Duration   `json:"timeout,omitempty"`
	Dir     string          `json:"dir,omitempty"`

	Phase   core.Phase    `json:"phase,omitempty"`   // of an action that runs
	Process *core.Process `json:"process,omitempty"` // in which it runs
	State   core.State    `json:"state,omitempty"`   // of an agent
	Outcome core.Outcome  `json:"outcome,omitempty"` // of the run
	Job     string        `json:"job,omitempty"`     // of a run that is begun

	// Of a run that ended after it had packed: what it took on this machine.
	Archive int64 `json:"archive,omitempty"` // bytes
	Dumped  int64 `json:"dumped,omitempty"`  // bytes, by hooks
}

// A stepKind is a word that a person can read.
type stepKind string

const (
	stepBegun  stepKind = "begun"  // the run
	stepOwes   stepKind = "owes"   // a hook is about to be begun
	stepRuns   stepKind = "runs"   // an action of it, in a process group
	stepPaid   stepKind = "paid"   // its post has ended
	stepPacked stepKind = "packed" // the archive is whole, and on disk where it is kept
	stepSends  stepKind = "sends"  // to an agent
	stepAgent  stepKind = "agent"  // how that went
	stepEnded  stepKind = "ended"  // the run
)

// A ledger is the file of one run's steps.
type ledger struct {
	now func() time.Time

	mu   sync.Mutex
	file *os.File
	size int64 // of its whole lines
}

// openLedger opens the file at path to go on in it. A line that a power loss tore
// is cut off.
func openLedger(path string, now func() time.Time) (*ledger, error) {
	whole, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	size := int64(bytes.LastIndexByte(whole, '\n') + 1)
	if err := errors.Join(f.Truncate(size), syncDir(filepath.Dir(path))); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &ledger{file: f, now: now, size: size}, nil
}

// note returns when a step is on disk. It is safe for concurrent use. Of a step that
// cannot be noted, as on a full disk, nothing stays.
func (l *ledger) note(s step) error {
	s.At = l.now().UTC()
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.file.Write(append(line, '\n'))
	if err != nil {
		return errors.Join(err, l.file.Truncate(l.size))
	}
	l.size += int64(n)
	return l.file.Sync()
}

func (l *ledger) close() error { return l.file.Close() }

// readLedger returns the steps of a run, none where it has not begun.
func readLedger(path string) (steps []step, err error) {
	doc, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(doc) {
		var s step
		if err := json.Unmarshal(line, &s); err != nil {
			if bytes.HasSuffix(line, []byte("\n")) {
				return nil, fmt.Errorf("%s, line %d: %w", path, len(steps)+1, err)
			}
			break // torn by a power loss: what it was about has not happened
		}
		steps = append(steps, s)
	}
	return steps, nil
}
