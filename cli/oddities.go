package cli

import (
	"fmt"
	"sync"

	"github.com/offsite-backup/offsite/core/archive"
)

// oddities tells of what was not as it should be, in few lines unless more are
// asked for: a tree of a million sockets must not hide what matters.
type oddities struct {
	app  *app
	mu   sync.Mutex
	told int64
	more int64
}

const odditiesMost = 20

func (o *oddities) report(x archive.Oddity) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.told >= odditiesMost && !o.app.verbose {
		o.more++
		return
	}
	o.told++
	what := "warning: "
	if x.Lost {
		what = "lost: "
	}
	o.app.warn(what + x.String())
}

func (o *oddities) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more > 0 {
		o.app.warn(fmt.Sprintf("and %d more: --verbose tells of all", o.more))
	}
}
