//go:build linux || darwin

package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// endGrace is the time between SIGTERM and SIGKILL that what was left behind has:
// longer than in a run, because no paused application waits for it.
const endGrace = 2 * time.Second

// End ends what is left of a process group that another process noted and did not
// end, and returns when it is gone: SIGTERM, then SIGKILL. It answers nil where
// nothing is left, core.ErrInvalid for what no action noted, core.ErrDenied where
// this user may not, and the cause of ctx, with what still runs, when that is over
// first.
//
// Only what is known to be of that group is ended, for a number is used again.
// It is known by when its first process began. On Linux, where that is gone, it is
// known by the variable OFFSITE_GROUP of one of its processes, and so is a process
// that made a group of its own and stayed in the session. What it is not known of
// is left alone.
//
// Where core.Process.Leaves is said of a group, nothing of it is ended once its program
// has ended by itself, or its guard is gone, which is taken for that.
//
// A group of a run that lives is ended as well: whoever calls holds that run's lock.
func End(ctx context.Context, p core.Process) error {
	if p.Group <= 1 || p.Began == "" {
		return core.Errorf(core.ErrInvalid, "process group %d, begun %q, is none that an action noted", p.Group, p.Began)
	}
	grace, cancel := context.WithTimeout(ctx, endGrace)
	defer cancel()
	over, err := ended(grace, p)
	if over {
		return nil
	}
	if err == nil {
		err = terminate(grace, p)
	}
	if err == nil || ctx.Err() == nil && grace.Err() != nil {
		err = kill(ctx, p)
	}
	if err != nil {
		err = fmt.Errorf("process group %d of an action that was broken off: %w", p.Group, err)
	}
	return err
}

// ended says whether the program of a group has ended by itself, and what is left is to
// go on. Its guard knows: one that is gone was told so, or found it. One that has not
// heard yet what it watches is waited for, as the process that began it died just now,
// and so is one that is about to go.
func ended(ctx context.Context, noted core.Process) (over bool, err error) {
	if !noted.Leaves {
		return false, nil
	}
	err = poll(ctx, noted, func(left remains) (runs bool, err error) {
		is := func(p process) bool { return p.pid == noted.Group && p.began == noted.Began }
		if over = !slices.ContainsFunc(left.alive, is); over {
			return true, nil
		}
		argv, err := arguments(noted.Group)
		program, began, heard := watched(argv)
		if heard && program != "" {
			over, err = endedSince(program, began)
		}
		if gone(err) {
			return false, nil
		}
		return heard && !over, err
	})
	if ctx.Err() != nil {
		err = nil
	}
	return over, err
}

// endedSince says whether a program is not there that began then.
func endedSince(program, began string) (bool, error) {
	pid, err := strconv.Atoi(program)
	if err != nil {
		return false, err
	}
	p, err := look(pid)
	if gone(err) {
		return true, nil
	}
	return p.ended || beginOf(p.began) != began, err
}

// gone says whether a process that was looked for is not there.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// terminate sends SIGTERM once, and waits until nothing but the guard is left.
func terminate(ctx context.Context, p core.Process) error {
	left, err := remaining(p)
	if err == nil && left.guarded() {
		return nil
	}
	if err == nil {
		err = left.signal(syscall.SIGTERM)
	}
	if err == nil {
		err = left.signal(syscall.SIGCONT) // one that is stopped does not hear it
	}
	if err != nil {
		return err
	}
	return poll(ctx, p, func(r remains) (bool, error) { return r.guarded(), nil })
}

// kill sends SIGKILL until nothing is left.
func kill(ctx context.Context, p core.Process) error {
	return poll(ctx, p, func(r remains) (bool, error) {
		if len(r.alive) == 0 {
			return true, nil
		}
		return false, r.signal(syscall.SIGKILL)
	})
}

// pollTime is how often is asked what is left: no system tells when a group ends.
const pollTime = 10 * time.Millisecond

func poll(ctx context.Context, p core.Process, done func(remains) (bool, error)) error {
	tick := time.NewTicker(pollTime)
	defer tick.Stop()
	for {
		left, err := remaining(p)
		if err != nil {
			return err
		}
		if ok, err := done(left); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %v still run", context.Cause(ctx), left.alive)
		}
	}
}

// A process is one of this machine.
type process struct {
	pid, parent int
	group       int
	name        string // of its program, which may be cut
	ended       bool   // nobody asked yet how
	began       string
}

// String is its name and number.
func (p process) String() string { return fmt.Sprintf("%s (%d)", visible([]byte(p.name)), p.pid) }

// remains are what is left of a process group.
type remains struct {
	group int
	whole bool      // the number still means the group
	alive []process // those of it that run, also in groups that they made
}

// guarded says whether nothing runs but the guard, and what that runs.
func (r remains) guarded() bool { return len(r.others()) == 0 }

// others are what runs but the guard, and what that runs.
func (r remains) others() []process {
	return slices.DeleteFunc(slices.Clone(r.alive), func(p process) bool { return p.pid == r.group || p.parent == r.group })
}

// remaining looks what is left.
func remaining(noted core.Process) (remains, error) {
	all, err := processes(noted.Group)
	r := remains{group: noted.Group}
	for _, p := range all {
		r.whole = r.whole || p.group == noted.Group && p.pid == noted.Group && p.began == noted.Began
	}
	for _, p := range all {
		r.whole = r.whole || p.group == noted.Group && p.marked(noted)
	}
	for _, p := range all {
		in := p.group == noted.Group && r.whole || p.group != noted.Group && p.strayed(noted)
		if in && !p.ended {
			r.alive = append(r.alive, p)
		}
	}
	return r, err
}

// signal is sent right after looking: numbers go round before one is used again,
// which takes longer. What ended meanwhile is no error.
func (r remains) signal(s syscall.Signal) (err error) {
	if r.whole {
		err = syscall.Kill(-r.group, s)
	}
	for _, p := range r.alive {
		if p.group != r.group {
			err = errors.Join(err, syscall.Kill(p.pid, s))
		}
	}
	if errors.Is(err, syscall.EPERM) {
		return core.Errorf(core.ErrDenied, "process %v runs as another user: end it as that user or as root", r.alive)
	}
	return nil
}
