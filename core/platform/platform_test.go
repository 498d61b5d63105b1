package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/agents/local"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/internal/treediff"
)

// place opens a directory as an agent.
func place(t *testing.T, dir string) core.Agent {
	t.Helper()
	a, err := (&local.Config{Dir: dir}).Open(t.Context(), core.Env{Name: filepath.Base(dir)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// none wants nothing that is unfinished.
func none(*entry) bool { return false }

// world is a folder with a source and a platform over two directories.
type world struct {
	*Platform
	dir    string
	source string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	w.source = filepath.Join(w.dir, "source")
	write(t, filepath.Join(w.source, "a", "notes"), "some notes")
	write(t, filepath.Join(w.source, "big"), strings.Repeat("0123456789abcdef", 1<<18))
	w.Platform = &Platform{
		Agents: []core.Agent{place(t, w.at("one")), place(t, w.at("two"))},
		Env:    core.Env{StateDir: w.at("state")},
	}
	return w
}

func (w *world) at(name string) string { return filepath.Join(w.dir, name) }

func (w *world) job() Job { return Job{Paths: []string{w.source}} }

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// left are the files below a directory that belong to no backup.
func left(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if !d.IsDir() && name != "lock" && !strings.HasPrefix(name, "ledger/") && !strings.HasPrefix(name, "jobs/") && !strings.HasPrefix(name, "meta") && !strings.HasPrefix(name, "data") && !strings.HasPrefix(name, "gone") {
			names = append(names, name)
		}
		return nil
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

func same(t *testing.T, want, got string) {
	t.Helper()
	diff, err := treediff.Diff(want, got)
	if err != nil || len(diff) > 0 {
		t.Errorf("%s is not as %s: %v\n%s", got, want, err, strings.Join(diff, "\n"))
	}
}

func TestRunAndRestore(t *testing.T) {
	w := newWorld(t)
	report, err := w.Run(t.Context(), w.job())
	if err != nil || report.Outcome != core.OK {
		t.Fatalf("run: %v, %v", report.Outcome, err)
	}
	for i, agent := range w.Agents {
		one := &Platform{Agents: []core.Agent{agent}}
		dest := w.at("restored" + agent.Name())
		got, err := one.Restore(t.Context(), report.Backup.ID, dest, RestoreOptions{Below: w.source})
		if err != nil || got.From != agent.Name() {
			t.Fatalf("restore from %d: %+v, %v", i, got, err)
		}
		same(t, w.source, dest)
		if names := left(t, w.at(agent.Name())); len(names) > 0 {
			t.Errorf("left at %s: %v", agent.Name(), names)
		}
	}
	whole := w.at("whole")
	if _, err := w.Restore(t.Context(), report.Backup.ID, whole, RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	same(t, w.source, filepath.Join(whole, w.source))
	if names := left(t, w.at("state")); len(names) > 0 {
		t.Errorf("left in the state folder: %v", names)
	}
}

func TestRestoreSome(t *testing.T) {
	w := newWorld(t)
	write(t, filepath.Join(w.source, "a", "more"), "x")
	if err := os.Link(filepath.Join(w.source, "a", "notes"), filepath.Join(w.source, "z")); err != nil {
		t.Fatal(err)
	}
	report, err := w.Run(t.Context(), w.job())
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(w.source, "/")
	got, err := w.Restore(t.Context(), report.Backup.ID, w.at("some"), RestoreOptions{Files: []string{w.source + "/a", name + "/z", name + "/a/notes", "/" + name + "/z"}})
	if err != nil || got.Entries != 4 {
		t.Fatalf("restored %+v, %v", got, err)
	}
	for _, path := range []string{"a/notes", "a/more", "z"} {
		if _, err := os.Stat(filepath.Join(w.at("some"), name, path)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(w.at("some"), name, "big")); err == nil {
		t.Error("a file that was not named was restored")
	}
	if _, err := w.Restore(t.Context(), report.Backup.ID, w.at("linked"), RestoreOptions{Below: w.source + "/z"}); err != nil {
		t.Error(err)
	} else if doc, err := os.ReadFile(w.at("linked/z")); string(doc) != "some notes" {
		t.Errorf("a hard link without its first name: %q, %v", doc, err)
	}
	if _, err := w.Restore(t.Context(), report.Backup.ID, w.at("none"), RestoreOptions{Files: []string{"no/such"}}); !errors.Is(err, os.ErrNotExist) || errors.Is(err, core.ErrNotFound) {
		t.Errorf("a name that is not there: %v", err)
	}
	if _, err := os.Stat(w.at("none")); err == nil {
		t.Error("a failed restore left its destination")
	}
}

func TestOutermost(t *testing.T) {
	for in, want := range map[string]string{
		"a/b,/a,a/b/c/": "a",
		"a,a":           "a",
		"ab,a,a-b,a/b":  "a,a-b,ab",
		"/,x":           "",
		"../x,./y":      "x,y",
	} {
		if got := strings.Join(outermost(strings.Split(in, ",")), ","); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestRestoreDestination(t *testing.T) {
	w := newWorld(t)
	report, err := w.Run(t.Context(), w.job())
	if err != nil {
		t.Fatal(err)
	}
	id := report.Backup.ID
	write(t, w.at("full/mine"), "mine")
	if err := os.Mkdir(w.at("empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(w.at("killed")+".partial-"+string(id), "half"), "half")
	for _, c := range []struct {
		dest string
		o    RestoreOptions
		want error
	}{
		{"full", RestoreOptions{}, core.ErrExists},
		{"full/mine", RestoreOptions{}, os.ErrInvalid},
		{"no/parent", RestoreOptions{}, os.ErrNotExist},
		{"empty", RestoreOptions{}, nil},
		{"killed", RestoreOptions{}, nil},
		{"full", RestoreOptions{Overwrite: true}, nil},
		{"fresh", RestoreOptions{Overwrite: true}, nil},
	} {
		_, err := w.Restore(t.Context(), id, w.at(c.dest), c.o)
		if (err == nil) != (c.want == nil) {
			t.Errorf("restore to %s: %v, want %v", c.dest, err, c.want)
		}
		if c.want == nil {
			same(t, w.source, filepath.Join(w.at(c.dest), w.source))
		}
	}
	if doc, err := os.ReadFile(w.at("full/mine")); string(doc) != "mine" {
		t.Errorf("what was there and not in the backup: %q, %v", doc, err)
	}
	if partial, _ := filepath.Glob(w.at("*.partial-*")); len(partial) > 0 {
		t.Errorf("left: %v", partial)
	}
}

// A broken agent differs from the one that it wraps in what is set.
type broken struct {
	core.Agent
	upload func(context.Context, core.Source) error
	open   func(core.Archive) core.Archive
	list   func(context.Context) iter.Seq2[core.Backup, error]
}

func (b *broken) Upload(ctx context.Context, src core.Source) error {
	if b.upload != nil {
		return b.upload(ctx, src)
	}
	return b.Agent.Upload(ctx, src)
}

func (b *broken) Open(ctx context.Context, id core.ID) (core.Archive, error) {
	a, err := b.Agent.Open(ctx, id)
	if err == nil && b.open != nil {
		a = b.open(a)
	}
	return a, err
}

func (b *broken) List(ctx context.Context) iter.Seq2[core.Backup, error] {
	if b.list != nil {
		return b.list(ctx)
	}
	return b.Agent.List(ctx)
}

func TestOutcome(t *testing.T) {
	full := core.Errorf(core.ErrNoSpace, "full")
	for name, c := range map[string]struct {
		copies  int
		require []string
		broken  int
		want    core.Outcome
	}{
		"all":                  {0, nil, 0, core.OK},
		"one of all":           {0, nil, 1, core.Failed},
		"one of enough":        {1, nil, 1, core.Degraded},
		"none of enough":       {1, nil, 2, core.Failed},
		"the required one":     {1, []string{"one"}, 1, core.Failed},
		"not the required one": {1, []string{"two"}, 1, core.Degraded},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for i := range c.broken {
				w.Agents[i] = &broken{Agent: w.Agents[i], upload: func(context.Context, core.Source) error { return full }}
			}
			job := w.job()
			job.Copies, job.Require = c.copies, c.require
			report, err := w.Run(t.Context(), job)
			if report.Outcome != c.want || (err != nil) != (c.want == core.Failed) {
				t.Errorf("%v, %v, want %v", report.Outcome, err, c.want)
			}
			if c.broken > 0 && !errors.Is(report.Err, core.ErrNoSpace) {
				t.Errorf("the reason is not said: %v", report.Err)
			}
			for i, a := range report.Agents {
				if stored := a.State == core.Stored; stored != (i >= c.broken) {
					t.Errorf("%s: %s, %v", a.Agent, a.State, a.Err)
				}
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	for name, change := range map[string]func(*world, *Job){
		"a missing path":  func(w *world, j *Job) { j.Paths = append(j.Paths, w.at("missing")) },
		"an empty path":   func(w *world, j *Job) { os.Mkdir(w.at("e"), 0o700); j.Paths = append(j.Paths, w.at("e")) },
		"no path":         func(w *world, j *Job) { j.Paths = nil },
		"too many copies": func(w *world, j *Job) { j.Copies = 3 },
		"nobody required": func(w *world, j *Job) { j.Require = []string{"three"} },
		"a bad tag":       func(w *world, j *Job) { j.Tags = core.Tags{"k": "\xff"} },
		"a hook's name":   func(w *world, j *Job) { j.Hooks = []core.Hook{{Name: "../x"}} },
		"no agents":       func(w *world, j *Job) { w.Agents = nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			job := w.job()
			change(w, &job)
			report, err := w.Run(t.Context(), job)
			if err == nil || report.Outcome != core.Failed {
				t.Fatalf("%v, %v", report.Outcome, err)
			}
			for _, dir := range []string{"one", "two", "state"} {
				if names := left(t, w.at(dir)); len(names) > 0 {
					t.Errorf("left in %s: %v", dir, names)
				}
			}
			if l := w.List(t.Context()); len(l.Rows) > 0 {
				t.Errorf("stored: %v", l.Rows)
			}
		})
	}
}

func TestHooks(t *testing.T) {
	w := newWorld(t)
	uploading, posted := make(chan struct{}), make(chan struct{})
	var order []string
	var told core.Result
	slow := &broken{Agent: w.Agents[1]}
	slow.upload = func(ctx context.Context, src core.Source) error {
		close(uploading)
		<-posted // the application is not paused for the network
		return slow.Agent.Upload(ctx, src)
	}
	w.Agents[1] = slow
	job := w.job()
	job.Hooks = []core.Hook{{
		Name: "db",
		Pre: func(_ context.Context, m core.Moment) error {
			<-uploading
			order = append(order, "pre")
			return os.WriteFile(filepath.Join(m.Dir, "dump"), []byte("rows"), 0o600)
		},
		Post:  func(context.Context, core.Moment) error { order = append(order, "post"); close(posted); return nil },
		After: func(_ context.Context, _ core.Moment, r core.Result) error { told = r; return nil },
	}}
	report, err := w.Run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(order, []string{"pre", "post"}) || told.Outcome != core.OK || len(told.Agents) != 2 {
		t.Errorf("order %v, told %+v", order, told)
	}
	if hooks := report.Backup.Hooks; len(hooks) != 1 || hooks[0].Name != "db" || hooks[0].Status != "ok" {
		t.Errorf("the metadata tells of hooks: %+v", hooks)
	}
	if _, err := w.Restore(t.Context(), report.Backup.ID, w.at("dump"), RestoreOptions{Below: "hooks/db"}); err != nil {
		t.Fatal(err)
	}
	if doc, err := os.ReadFile(w.at("dump/dump")); string(doc) != "rows" {
		t.Errorf("the dump: %q, %v", doc, err)
	}
}

func TestHookFails(t *testing.T) {
	reason := errors.New("no database")
	fail := func(context.Context, core.Moment) error { return reason }
	for name, c := range map[string]struct {
		hook core.Hook
		want core.Outcome
	}{
		"pre":          {core.Hook{Name: "h", Pre: fail}, core.Failed},
		"optional pre": {core.Hook{Name: "h", Pre: fail, Optional: true}, core.OK},
		"post":         {core.Hook{Name: "h", Post: fail}, core.Degraded},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			job := w.job()
			job.Hooks = []core.Hook{c.hook}
			report, err := w.Run(t.Context(), job)
			if report.Outcome != c.want || (c.want != core.OK) != errors.Is(report.Err, reason) {
				t.Errorf("%v, %v, %v; want %v", report.Outcome, report.Err, err, c.want)
			}
			if rows := w.List(t.Context()).Rows; (len(rows) == 0) != (c.want == core.Failed) {
				t.Errorf("stored: %v", rows)
			}
		})
	}
}

func TestCancelLeavesNothing(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("interrupted")
	job := w.job()
	job.Hooks = []core.Hook{{Name: "h", Pre: func(context.Context, core.Moment) error { cancel(reason); return nil }}}
	report, err := w.Run(ctx, job)
	if !errors.Is(err, reason) {
		t.Fatal(err)
	}
	w.skipped(t, report)
	for _, dir := range []string{"one", "two", "state"} {
		if names := left(t, w.at(dir)); len(names) > 0 {
			t.Errorf("left in %s: %v", dir, names)
		}
	}
}

// TestPackingEnds cancels packing when no agent is left that takes the archive.
// What the post says is told all the same.
func TestPackingEnds(t *testing.T) {
	w := newWorld(t)
	started := make(chan struct{})
	for i, a := range w.Agents {
		w.Agents[i] = &broken{Agent: a, upload: func(context.Context, core.Source) error {
			<-started
			return core.Errorf(core.ErrDenied, "no")
		}}
	}
	job := w.job()
	paused := errors.New("the application stays paused")
	job.Hooks = []core.Hook{{
		Name: "h",
		Pre:  func(ctx context.Context, _ core.Moment) error { close(started); <-ctx.Done(); return nil },
		Post: func(context.Context, core.Moment) error { return paused },
	}}
	report, err := w.Run(t.Context(), job)
	if !errors.Is(err, core.ErrDenied) || errors.Is(err, errNobody) {
		t.Errorf("%v, want what the agents say", err)
	}
	if !errors.Is(err, paused) || !errors.Is(report.Err, paused) {
		t.Errorf("%v, want what the post says", err)
	}
}

// TestClearsAfterDead leaves what a killed run leaves, and sees it gone after the
// next one.
func TestClearsAfterDead(t *testing.T) {
	w := newWorld(t)
	st := &state{w.at("state")}
	id := core.ID("20261123T045900Z-mzxw6ytboi4dk")
	e, err := st.create(record{ID: id, Agents: []string{"one", "two"}, Spool: w.at("spool")}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w.at("spool"), "half an archive")
	write(t, filepath.Join(e.folder(), "hooks", "db", "dump"), "rows")
	write(t, w.at("one/data/"+string(id)+".tar.zst"), "an archive without metadata")
	write(t, w.at("one/data/other.tar.zst"), "another's")
	if _, err := w.Run(t.Context(), w.job()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(w.at("spool")); err != nil {
		t.Error("the spool of a run that lives was removed")
	}
	if err := e.release(); err != nil { // it dies
		t.Fatal(err)
	}
	if _, err := w.Run(t.Context(), w.job()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"spool", "state/runs/" + string(id), "one/data/" + string(id) + ".tar.zst"} {
		if _, err := os.Stat(w.at(path)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if _, err := os.Stat(w.at("one/data/other.tar.zst")); err != nil {
		t.Error("what another host may still need was removed")
	}
}

// TestClearsLater keeps the record of a dead run while a place cannot be swept.
func TestClearsLater(t *testing.T) {
	w := newWorld(t)
	st := &state{w.at("state")}
	id := core.ID("20261123T045900Z-mzxw6ytboi4dk")
	e, err := st.create(record{ID: id, Agents: []string{"two"}}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.release(); err != nil {
		t.Fatal(err)
	}
	one := &Platform{Agents: w.Agents[:1], Env: w.Env}
	if _, err := one.Run(t.Context(), w.job()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(e.path("run.json")); err != nil {
		t.Errorf("a debt at an agent that was not asked was forgotten: %v", err)
	}
	if _, err := w.Run(t.Context(), w.job()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(e.folder()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}

func TestUploadGoesOn(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(w.source, "big")
	whole := w.Agents[1]
	w.Agents[1] = &broken{Agent: whole, upload: func(context.Context, core.Source) error { return core.Errorf(core.ErrUnavailable, "down") }}
	first, err := w.Upload(t.Context(), file, UploadOptions{Copies: 1})
	if err != nil || first.Outcome != core.Degraded {
		t.Fatalf("%v, %v", first.Outcome, err)
	}
	w.Agents[1] = whole
	second, err := w.Upload(t.Context(), file, UploadOptions{})
	if err != nil || second.Backup.ID != first.Backup.ID {
		t.Fatalf("%v is not %v: %v", second.Backup.ID, first.Backup.ID, err)
	}
	third, err := w.Upload(t.Context(), file, UploadOptions{})
	if err != nil || third.Backup.ID == first.Backup.ID {
		t.Fatalf("a finished upload was gone on with: %v", err)
	}
	rows := w.List(t.Context()).Rows
	if len(rows) != 2 || rows[0].Copies["one"] != Stored || rows[0].Copies["two"] != Stored {
		t.Errorf("stored: %+v", rows)
	}
	if _, err := w.Download(t.Context(), first.Backup.ID, w.at("back")); err != nil {
		t.Fatal(err)
	}
	want, _ := os.ReadFile(file)
	if got, err := os.ReadFile(w.at("back")); string(got) != string(want) {
		t.Errorf("downloaded %d other bytes: %v", len(got), err)
	}
	if _, _, err := w.Contents(t.Context(), first.Backup.ID); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("contents of a file as it is: %v", err)
	}
	if _, err := w.Restore(t.Context(), first.Backup.ID, w.at("no"), RestoreOptions{}); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("restore of a file as it is: %v", err)
	}
}

// A cutArchive fails after some bytes.
type cutArchive struct {
	core.Archive
	after int64
	err   error
	cuts  *atomic.Int64
}

func (c *cutArchive) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	r, err := c.Archive.Range(ctx, off, n)
	if err != nil {
		return nil, err
	}
	return &cutReader{r, c}, nil
}

type cutReader struct {
	io.ReadCloser
	*cutArchive
}

func (r *cutReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p[:min(int64(len(p)), max(1, r.after))])
	if r.after -= int64(n); r.after <= 0 {
		r.cuts.Add(1)
		return n, r.cutArchive.err
	}
	return n, err
}

func TestRestoreGoesOn(t *testing.T) {
	for name, reason := range map[string]error{
		"agent down": core.Errorf(core.ErrUnavailable, "reset"),
		"damaged":    core.Errorf(core.ErrDamaged, "a chunk"),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			report, err := w.Run(t.Context(), w.job())
			if err != nil {
				t.Fatal(err)
			}
			var cuts atomic.Int64
			w.Agents[0] = &broken{Agent: w.Agents[0], open: func(a core.Archive) core.Archive {
				return &cutArchive{a, 1000, reason, &cuts}
			}}
			got, err := w.Restore(t.Context(), report.Backup.ID, w.at("dest"), RestoreOptions{Below: w.source})
			if err != nil || got.From != "two" || cuts.Load() == 0 || !errors.Is(got.Failed, reason) {
				t.Fatalf("restored %+v after %d cuts: %v", got, cuts.Load(), err)
			}
			same(t, w.source, w.at("dest"))
			whole, err := w.Restore(t.Context(), report.Backup.ID, w.at("whole"), RestoreOptions{})
			if err != nil || whole.From != "two" {
				t.Fatalf("restored %+v: %v", whole, err)
			}
			same(t, w.source, filepath.Join(w.at("whole"), w.source))
			w.Agents = w.Agents[:1]
			if _, err := w.Restore(t.Context(), report.Backup.ID, w.at("none"), RestoreOptions{}); !errors.Is(err, reason) {
				t.Errorf("no copy left: %v", err)
			}
			if partial, _ := filepath.Glob(w.at("none*")); len(partial) > 0 {
				t.Errorf("left: %v", partial)
			}
		})
	}
}

// A countedArchive counts what is asked of it.
type countedArchive struct {
	core.Archive
	ranges, bytes *atomic.Int64
}

func (c countedArchive) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	r, err := c.Archive.Range(ctx, off, n)
	c.ranges.Add(1)
	return countedReader{r, c}, err
}

type countedReader struct {
	io.ReadCloser
	countedArchive
}

func (r countedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.bytes.Add(int64(n))
	return n, err
}

// TestReadsLittle looks for one of many files, and restores it: that takes the
// index, one table, and the frame with the file.
func TestReadsLittle(t *testing.T) {
	w := newWorld(t)
	for i := range 5000 {
		write(t, filepath.Join(w.source, "many", fmt.Sprintf("%04d", i)), fmt.Sprint("content ", i))
	}
	report, err := w.Run(t.Context(), w.job())
	if err != nil {
		t.Fatal(err)
	}
	id, name := report.Backup.ID, w.source[1:]+"/many/3456"
	var ranges, bytes atomic.Int64
	w.Agents[0] = &broken{Agent: w.Agents[0], open: func(a core.Archive) core.Archive {
		return countedArchive{a, &ranges, &bytes}
	}}
	contents, stored, err := w.Contents(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer stored.Close()
	found := 0
	for e, err := range contents.List(t.Context(), name) {
		if found++; err != nil || e.Name != name {
			t.Errorf("listed %q, %v", e.Name, err)
		}
	}
	if found != 1 || ranges.Load() != 2 {
		t.Errorf("listing %d entries took %d ranges, want 1 and 2", found, ranges.Load())
	}
	ranges.Store(0)
	if _, err := w.Restore(t.Context(), id, w.at("single"), RestoreOptions{Files: []string{name}}); err != nil {
		t.Fatal(err)
	}
	if doc, err := os.ReadFile(filepath.Join(w.at("single"), name)); string(doc) != "content 3456" {
		t.Errorf("restored %q, %v", doc, err)
	}
	if ranges.Load() != 3 || bytes.Load() > report.Backup.Size {
		t.Errorf("restoring one file took %d ranges and %d bytes of %d, want 3 ranges", ranges.Load(), bytes.Load(), report.Backup.Size)
	}
}

// TestRestorePassesOverBareCopy has a copy first that was fetched and uploaded by
// hand: the same bytes, and nothing that says what is inside.
func TestRestorePassesOverBareCopy(t *testing.T) {
	w := newWorld(t)
	report, err := w.Run(t.Context(), w.job())
	if err != nil {
		t.Fatal(err)
	}
	id := report.Backup.ID
	if _, err := w.Download(t.Context(), id, w.at("file.tar.zst")); err != nil {
		t.Fatal(err)
	}
	bare := &Platform{Agents: []core.Agent{place(t, w.at("bare"))}, Env: w.Env}
	if _, err := bare.Upload(t.Context(), w.at("file.tar.zst"), UploadOptions{ID: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := bare.Restore(t.Context(), id, w.at("no"), RestoreOptions{}); !errors.Is(err, core.ErrUnsupported) {
		t.Errorf("restore from the bare copy alone: %v", err)
	}
	w.Agents = append(bare.Agents, w.Agents...)
	for dest, o := range map[string]RestoreOptions{"all": {}, "some": {Files: []string{w.source}}} {
		if _, err := w.Restore(t.Context(), id, w.at(dest), o); err != nil {
			t.Error(err)
		}
		same(t, w.source, filepath.Join(w.at(dest), w.source))
	}
}

func TestState(t *testing.T) {
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "content")
	is, err := identify(file)
	if err != nil {
		t.Fatal(err)
	}
	e := &entry{record: record{Created: now, File: is}}
	if !e.unfinished(now.Add(keepUploads-1)) || e.unfinished(now.Add(keepUploads)) {
		t.Error("an upload is kept for another time than said")
	}
	write(t, file, "other content")
	if e.unfinished(now) {
		t.Error("an upload of a file that changed may be gone on with")
	}
	if err := os.Remove(file); err != nil || e.unfinished(now) {
		t.Errorf("an upload of a file that is gone may be gone on with: %v", err)
	}
	st := &state{t.TempDir()}
	id := core.ID("a")
	held, err := st.create(record{ID: id, Agents: []string{"x"}}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.create(record{ID: id}, time.Now); !errors.Is(err, core.ErrExists) {
		t.Errorf("second record of an id: %v", err)
	}
	if dead, _, err := st.dead(now, none); err != nil || len(dead) != 0 {
		t.Errorf("a record that is held is dead: %v, %v", dead, err)
	}
	if err := held.release(); err != nil {
		t.Fatal(err)
	}
	dead, _, err := st.dead(now, none)
	if err != nil || len(dead) != 1 || !slices.Equal(dead[0].Agents, []string{"x"}) {
		t.Fatalf("dead: %v, %v", dead, err)
	}
	if err := dead[0].settle([]string{"x"}); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(st.runs()); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	write(t, filepath.Join(st.folder("b"), "run.json"), "{torn")
	if taken, broken, err := st.dead(now, none); err != nil || len(taken) != 0 || len(broken) != 1 || !strings.Contains(broken[0].Error(), "run.json") {
		t.Errorf("a torn record: %v, %v, %v", taken, broken, err)
	}
}
