package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// Section C, the middle: the process dies.
func crashes() []Case {
	return []Case{{
		ID: "C07", Words: "kill_9", Level: Core, Needs: []Means{MeansCrash, MeansRaw}, run: killed,
		Clause: "An upload that is interrupted at any instant, by whatever means, leaves nothing that List, Get or Open shows.",
		Why:    "machines lose power in the middle of the night's backup; the next run has to find a sound place",
	}}
}

// A task is what the process that is to be killed does: one upload.
type task struct {
	Namespace Namespace
	ID        core.ID
	Created   time.Time
	Seed      uint64
	Size      int64
	Byte      int64 // stops when the source is read so far; -1 for not at all
	Step      int   // stops before this step; -1 for not at all
	State     string
	Address   string // asks here, over a network; "" for where the target is
}

// ready is what the child says when it has stopped.
const ready = "offsite-conformance-child: stopped\n"

// Child does what a task of Target.Crash says, and stops where it says, to be
// killed there; an upload that took fewer steps than that stops at its end. It
// returns when the upload has ended before the byte.
func Child(ctx context.Context, target Target, task string, out io.Writer) error {
	j, err := parseTask(task)
	if err != nil {
		return err
	}
	stop := func() {
		_, _ = io.WriteString(out, ready) // the parent waits for it, or for our end
		time.Sleep(caseLimit)             // to be killed; no longer than a parent lives
	}
	env := core.Env{Name: agentName, StateDir: j.State}
	s := sourceOf(j.ID, j.Created, content{j.Seed, j.Size})
	if j.Byte >= 0 {
		s.before = func(_ context.Context, end int64) error {
			if end > j.Byte {
				stop()
			}
			return nil
		}
	}
	var a core.Agent
	switch {
	case j.Address != "":
		a, err = target.Wire.Open(ctx, j.Namespace, env, j.Address)
	case j.Step >= 0:
		rec := &recorder{fails: func(n int, _ Step) Fault {
			if n == j.Step {
				stop()
			}
			return NoFault
		}}
		a, err = target.OpenFaulty(ctx, j.Namespace, env, rec.gate)
	default:
		a, err = target.Open(ctx, j.Namespace, env)
	}
	if err != nil {
		return err
	}
	if err := a.Upload(ctx, s); err != nil {
		return err
	}
	if j.Step >= 0 {
		stop()
	}
	return a.Close()
}

func parseTask(text string) (j task, err error) {
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return j, fmt.Errorf("a task of the conformance suite: %w", err)
	}
	return j, nil
}

func killed(t *trial) {
	ns := t.place()
	a := t.open(ns)
	size, _ := t.offsets()
	all, stored := t.moments(ns, size)
	for _, j := range all {
		s := t.source(size)
		j.Namespace, j.ID, j.Created, j.Seed, j.Size = ns, s.draft.ID, s.draft.Created, s.seed, size
		j.State = t.dir + "/state"
		t.kill(j)
		t.wholeOrAbsent(a, s)
		t.lists(a, append(t.ifThere(a, s), stored...)...)
		t.did("upload of the same id")
		t.store(a, s)
		t.same(a, s)
		stored = append(stored, s)
	}
	t.clean(ns, a, stored...)
}

func (t *trial) ifThere(a core.Agent, s *source) []*source {
	if _, err := a.Get(t.ctx, s.draft.ID); err != nil {
		return nil
	}
	return []*source{s}
}

// moments are twenty at which to kill: by the bytes read, and where the target
// tells its steps, before some of them.
func (t *trial) moments(ns Namespace, size int64) (all []task, kept []*source) {
	const n = 20
	if t.target.OpenFaulty != nil {
		var rec recorder
		a := t.openFaulty(ns, rec.gate)
		first := t.stored(a, size)
		rec.set(nil)
		second := t.stored(a, size) // the first one also made folders
		kept = append(kept, first, second)
		for _, k := range t.sample(len(rec.seen()), n*2/3) {
			if len(all) < n-5 {
				all = append(all, task{Byte: -1, Step: k})
			}
		}
		all = append(all, task{Byte: -1, Step: len(rec.seen()) - 1})
	}
	for len(all) < n {
		all = append(all, task{Byte: t.random.Int64N(size), Step: -1})
	}
	return all, kept
}

// kill starts a child, waits until it has stopped, and kills it.
func (t *trial) kill(j task) {
	text, err := json.Marshal(j)
	t.ok(err, "a task")
	cmd := t.target.Crash(string(text))
	out, err := cmd.StdoutPipe()
	t.ok(err, "a pipe")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	t.ok(cmd.Start(), "a child")
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(out).ReadString('\n') // what is not ready is no stop
		line <- text
	}()
	var said string
	select {
	case said = <-line:
	case <-t.ctx.Done():
	}
	if err := cmd.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		t.ok(err, "a kill")
	}
	_ = cmd.Wait() // killed
	if said != ready {
		t.inconclusive("fault: kill", "the child stops where it was told to", "it said %q, and on standard error %q", said, stderr.String())
	}
	t.did("SIGKILL of the uploading process before step %d, or %s", j.Step, at(j.Byte, j.Size))
}
