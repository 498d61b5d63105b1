package platform

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// keepLedgers is how many ledgers of runs that are over are kept, for people and for
// what is computed from them.
const keepLedgers = 1000

func (s *state) history() string { return filepath.Join(s.dir, "ledger") }

// archive moves the ledger of a run that is over to the others, of which the oldest
// go. Ids are in the order of time.
func (e *entry) archive() error {
	if err := os.MkdirAll(e.state.history(), 0o700); err != nil {
		return err
	}
	err := os.Rename(e.path(ledgerFile), filepath.Join(e.state.history(), string(e.ID)+".jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // killed before it had any
	}
	old, listed := os.ReadDir(e.state.history())
	for _, f := range old[:max(0, len(old)-keepLedgers)] {
		err = errors.Join(err, os.Remove(filepath.Join(e.state.history(), f.Name())))
	}
	return errors.Join(err, listed)
}

// took is the end of the newest run of a job that packed an archive; the zero step
// where there is none.
func (s *state) took(job string) (step, error) {
	old, err := os.ReadDir(s.history())
	if errors.Is(err, fs.ErrNotExist) || job == "" {
		return step{}, nil
	}
	for _, f := range slices.Backward(old) {
		steps, err := readLedger(filepath.Join(s.history(), f.Name()))
		if err != nil || len(steps) == 0 || steps[0].Job != job {
			continue // one that cannot be read stops no backup
		}
		for _, s := range slices.Backward(steps) { // what waited was sent after its end
			if s.Step == stepEnded && s.Archive > 0 {
				return s, nil
			}
		}
	}
	return step{}, err
}
