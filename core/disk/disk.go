// Package disk asks file systems for their room.
package disk

import (
	"fmt"

	"github.com/offsite-backup/offsite/core"
)

// A Space is what a file system has, in bytes. The zero Space is of one that does not
// say.
type Space struct {
	Size int64 // in all
	Free int64 // that this user may still write
}

// Reserve is how much of it is left to others: where an application has no room any
// more, it is worse off than without one night's backup.
func (s Space) Reserve() int64 { return min(256<<20, s.Size/20) }

// Finding says how much is free.
func (s Space) Finding() core.Finding {
	const mib = 1 << 20
	f := core.Finding{What: "space", Verdict: core.VerdictOK, Why: fmt.Sprintf("%d of %d MiB are free", s.Free/mib, s.Size/mib)}
	switch {
	case s.Size == 0:
		f.Why = "the file system does not say how much is free"
	case s.Free < s.Reserve():
		f.Verdict, f.Do = core.VerdictWarning, "make room there"
	}
	return f
}
