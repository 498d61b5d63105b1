package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall"

	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/platform"
)

// A console is standard error: lines for people, above the bars while there are
// any. It is safe for concurrent use, and what cannot be written there is lost,
// as there is nobody left to tell.
type console struct {
	mu    sync.Mutex
	w     io.Writer
	above io.Writer // writes above what is drawn; nil while nothing is
}

// Write writes whole lines.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.above != nil {
		if n, err := c.above.Write(p); err == nil {
			return n, nil
		}
	}
	return c.w.Write(p)
}

// line writes one line, in which nothing moves a cursor or begins another line.
func (c *console) line(s string) {
	var b bytes.Buffer
	b.WriteString(visible(s))
	b.WriteByte('\n')
	_, _ = c.Write(b.Bytes())
}

func (c *console) draw(above io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.above = above
}

// warn writes a line that --quiet leaves out.
func (a *app) warn(s string) {
	if !a.quiet {
		a.console.line("offsite: " + s)
	}
}

// printJSON writes one line of the result.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printf writes lines of the result for people. The first error of writing is
// kept, and told when the command ends.
func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.out, format, args...) }

// complain says what went wrong and what to do next. An error of several parts
// has a line for each.
func (a *app) complain(err error) {
	if err != nil {
		a.complainOf("", err)
	}
}

// complainOf is complain, of one part of a command.
func (a *app) complainOf(part string, err error) {
	for s := range strings.SplitSeq(err.Error(), "\n") {
		if strings.TrimSpace(s) != "" {
			a.console.line("offsite: " + part + s)
		}
	}
	if next := advice(err); next != "" {
		a.console.line("offsite: " + part + next)
	}
}

// advice is what to do about an error, where that does not depend on more than
// its kind.
func advice(err error) string {
	if u := (usageError{}); errors.As(err, &u) {
		if u.command == "" {
			return ""
		}
		if mistakes := (config.Errors)(nil); errors.As(err, &mistakes) {
			return `nothing was touched; "offsite config check" shows whether all is mended`
		}
		return `nothing was touched; see "` + u.command + ` --help"`
	}
	if post := (*core.PostError)(nil); errors.As(err, &post) {
		return "a post failed: the application may still be paused, so look at it"
	}
	if errors.As(err, new(waits)) {
		return `"offsite recover" sends what waits once the place answers or has room`
	}
	for _, a := range kindAdvice {
		if errors.Is(err, a.kind) {
			return a.next
		}
	}
	return ""
}

var kindAdvice = []struct {
	kind error
	next string
}{
	{core.ErrDamaged, "what is stored there is damaged: restore from another place, and keep this one until you have"},
	{core.ErrNoPlace, "nothing is there: check how the place is written, and that its bucket is made, or its disk or share mounted"},
	{core.ErrNotFound, `"offsite list" shows the backups that are there`},
	{core.ErrExists, "what is there was left as it is: choose another name, or look at what is there"},
	{core.ErrUnauthenticated, "check the credentials of that place"},
	{core.ErrNoSpace, "make room there, then do the same again"},
	{core.ErrUnavailable, "do the same again when the place answers"},
	{core.ErrThrottled, "do the same again later"},
	{core.ErrChanged, "something changed underneath: do the same again"},
	{platform.ErrBusy, "wait until it has ended"},
	{syscall.ENOSPC, "make room there, or name another folder with --spool or --state"},
	{fs.ErrNotExist, "check how it is written"},
	{fs.ErrPermission, "check the rights of this user, and whether the file system may be written"},
}
