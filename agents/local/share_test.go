package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
	"github.com/offsite-backup/offsite/core/filetree/faulty"
)

const (
	sharedID  = core.ID("20261123T045900Z-mzxw6ytboi4dk")
	sharedKey = "data/" + string(sharedID) + ".tar.zst"
	spoolSize = 2<<20 + 7
)

// A spool is an archive that is still packed: half of it is there, the rest comes
// with seal. It is a core.Source and a core.SealedFile.
type spool struct {
	body  []byte
	file  *os.File
	named string // what SealedFile says, unless it is the file's own path
	more  func() // called when somebody waits for what is not packed yet
	whole chan struct{}
}

func newSpool(t *testing.T, dir string) *spool {
	t.Helper()
	s, err := pack(filepath.Join(dir, "spool"), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.file.Close() })
	return s
}

// spooled are the bytes of a spool.
func spooled(seed byte) []byte {
	body := make([]byte, spoolSize)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(body)
	return body
}

// pack makes a spool at path with one half of its bytes.
func pack(path string, seed byte) (*spool, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	s := &spool{body: spooled(seed), file: f, whole: make(chan struct{})}
	_, err = f.WriteAt(s.body[:s.half()], 0)
	return s, err
}

func (s *spool) half() int { return (len(s.body) + 1) / 2 }

// seal packs the rest, once.
func (s *spool) seal() {
	if _, err := s.file.WriteAt(s.body[s.half():], int64(s.half())); err != nil {
		panic(err)
	}
	close(s.whole)
}

func (s *spool) wait(ctx context.Context) error {
	if s.more != nil {
		s.more()
	}
	select {
	case <-s.whole:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *spool) Draft() core.Backup {
	return core.Backup{ID: sharedID, Archive: sharedKey, Created: time.Unix(1, 0)}
}

func (s *spool) Backup(ctx context.Context) (core.Backup, error) {
	if err := s.wait(ctx); err != nil {
		return core.Backup{}, err
	}
	sums, b := core.NewSums(nil), s.Draft()
	_, _ = sums.Write(s.body)
	sums.Fill(&b)
	return b, nil
}

func (s *spool) Reader(ctx context.Context) io.ReaderAt { return spoolReader{s, ctx} }

type spoolReader struct {
	*spool
	ctx context.Context
}

func (r spoolReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > int64(r.half()) {
		if err := r.wait(r.ctx); err != nil {
			return 0, err
		}
	}
	return r.file.ReadAt(p, off)
}

func (s *spool) SealedFile() string {
	if s.named != "" {
		return s.named
	}
	return s.file.Name()
}

// names are those of the files in the directory tmp of a place.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		all = append(all, f.Name())
	}
	return all
}

// uploadPacking uploads a spool that is sealed when the agent has told of its first
// part, which is when packed is called.
func uploadPacking(t *testing.T, fsys filetree.FS, s *spool, packed func()) {
	t.Helper()
	var mu sync.Mutex
	var last core.Progress
	begun, done := make(chan struct{}), make(chan error, 1)
	tell := sync.OnceFunc(func() { close(begun) })
	a := inSmallParts(fsys, core.Env{Name: "local", Progress: func(p core.Progress) {
		mu.Lock()
		defer mu.Unlock()
		if last = p; p.Done >= smallPart {
			tell()
		}
	}})
	defer a.Close()
	go func() { done <- a.Upload(t.Context(), s) }()
	select {
	case <-begun:
		packed()
		s.seal()
	case err := <-done:
		t.Fatalf("the upload ended before the spool was sealed: %v", err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	size := int64(len(s.body))
	if want := (core.Progress{Agent: "local", ID: sharedID, Done: size, Total: size}); last != want {
		t.Errorf("told %+v in the end", last)
	}
}

// wantBackup checks that a place has the backup and nothing besides.
func wantBackup(t *testing.T, dir string, body []byte) {
	t.Helper()
	agent, path := open(t, dir), filepath.Join(t.TempDir(), "back")
	if _, err := core.Download(t.Context(), agent, sharedID, path); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, body) {
		t.Errorf("got %d other bytes, %v", len(got), err)
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

const (
	childSpool = "OFFSITE_TEST_SPOOL" // the path of the spool
	childSeed  = "OFFSITE_TEST_SEED"  // of its bytes
	childKill  = "OFFSITE_TEST_KILL"  // the operation at which the child kills itself
	childTakes = "OFFSITE_TEST_TAKES" // "packing": a spool that is packed meanwhile; "packed": one that is; "file": a user's own file
)

// shareChild uploads a spool, and says on standard output how that went.
func shareChild() {
	kill, _ := strconv.Atoi(os.Getenv(childKill)) // 0 is no operation
	fsys := in(os.Getenv(childDir), os.Getenv(childWay), faulty.Fault{Nth: kill, Meet: func() {
		if self, err := os.FindProcess(os.Getpid()); err == nil {
			_ = self.Kill()
		}
		select {}
	}})
	seed, _ := strconv.Atoi(os.Getenv(childSeed))
	src, err := takes(os.Getenv(childTakes), os.Getenv(childSpool), byte(seed))
	if err == nil {
		err = inSmallParts(fsys, core.Env{Name: "local"}).Upload(context.Background(), src)
	}
	if err != nil {
		fmt.Println(core.KindOf(err), err)
		os.Exit(1)
	}
	fmt.Println("end")
}

// takes is the source of a child.
func takes(what, path string, seed byte) (core.Source, error) {
	if what == "file" {
		if err := os.WriteFile(path, spooled(seed), 0o600); err != nil {
			return nil, err
		}
		return core.OpenFile(path, (&spool{}).Draft(), nil)
	}
	if what == "packed" {
		s := &spool{body: spooled(seed), whole: make(chan struct{})}
		close(s.whole)
		var err error
		s.file, err = os.Open(path)
		return s, err
	}
	s, err := pack(path, seed)
	if err != nil {
		return nil, err
	}
	s.more = sync.OnceFunc(s.seal)
	return s, nil
}

// share runs a child and returns its last word.
func share(t *testing.T, env ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, _ := cmd.Output() // it kills itself, or says what went wrong
	return strings.TrimSpace(string(out))
}

// ofDeadRun says that what is left is of a run that is over.
func ofDeadRun(core.ID) bool { return true }

// A child that shares a spool kills itself at each operation. While the spool was
// packed, the run is over, and a sweep leaves nothing. An archive that was packed is
// sent by the next process, and stays when the spool is removed. A disk in memory is
// killed at every one, see package filetree: here a fourth of them is enough.
func TestShareKilled(t *testing.T) {
	for _, c := range []struct{ way, takes string }{{"rename", "packing"}, {"rename", "packed"}, {"link", "packed"}} {
		t.Run(c.way+" "+c.takes, func(t *testing.T) {
			k := 1 + rand.IntN(4)
			for killedAt(t, k, c.way, c.takes) {
				k += 4
			}
			if k < 50 {
				t.Errorf("only %d operations", k-1)
			}
		})
	}
}

// killedAt kills a child at one operation, unless it ends before, and clears up.
func killedAt(t *testing.T, k int, way, what string) bool {
	t.Helper()
	dir, spool := filepath.Join(t.TempDir(), "place"), filepath.Join(t.TempDir(), "spool")
	if what == "packed" {
		if err := os.WriteFile(spool, spooled(1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said := share(t, childDir+"="+dir, childWay+"="+way, childSpool+"="+spool, childSeed+"=1", childTakes+"="+what, childKill+"="+strconv.Itoa(k))
	if said == "end" {
		return false
	}
	if said != "" {
		t.Fatalf("operation %d: %s", k, said)
	}
	wantWholeOrNothing(t, dir)
	if what == "packed" {
		resend(t, dir, spool)
	}
	if err := os.Remove(spool); err != nil {
		t.Fatal(err)
	}
	sweepAway(t, dir)
	if what == "packed" {
		wantBackup(t, dir, spooled(1))
	}
	return true
}

// resend goes on with the upload of a spool that was packed.
func resend(t *testing.T, dir, path string) {
	t.Helper()
	src, err := takes("packed", path, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer src.(*spool).file.Close()
	a := inSmallParts(tree{dir}, core.Env{Name: "local"})
	defer a.Close()
	if err := a.Upload(t.Context(), src); err != nil {
		t.Errorf("sent again: %v", err)
	}
}

// wantWholeOrNothing checks what a killed child left.
func wantWholeOrNothing(t *testing.T, dir string) {
	t.Helper()
	agent := open(t, dir)
	ids, err := list(t.Context(), agent)
	if len(ids) > 0 && err == nil {
		_, err = core.Download(t.Context(), agent, sharedID, filepath.Join(t.TempDir(), "back"))
	}
	if err != nil && !errors.Is(err, core.ErrNoPlace) {
		t.Error(err)
	}
}

// sweepAway sweeps what a dead run left, and checks that nothing is.
func sweepAway(t *testing.T, dir string) {
	t.Helper()
	agent := open(t, dir)
	for l, err := range agent.(core.Sweeper).Sweep(t.Context(), ofDeadRun) {
		if err != nil || !l.Removed {
			t.Errorf("%+v, %v", l, err)
		}
	}
	ids, _ := list(t.Context(), agent) // of a place that is not there yet
	archives, _ := os.ReadDir(filepath.Join(dir, "data"))
	left, _ := os.ReadDir(filepath.Join(dir, "tmp"))
	if len(left) > 0 || len(archives) != len(ids) {
		t.Errorf("left %v, and %d archives of %d backups", left, len(archives), len(ids))
	}
}

// Of two processes with one id, of which one links and one copies, one wins. The
// other is content with the same bytes and with no others.
func TestShareRace(t *testing.T) {
	for _, same := range []bool{true, false} {
		for round := range 8 {
			dir, files := filepath.Join(t.TempDir(), "place"), t.TempDir()
			var said [2]string
			var both sync.WaitGroup
			for i, takes := range []string{"packing", "file"} {
				seed := 1
				if !same {
					seed += i
				}
				both.Go(func() {
					said[i] = share(t, childDir+"="+dir, childWay+"=rename", childTakes+"="+takes,
						childSpool+"="+filepath.Join(files, takes), childSeed+"="+strconv.Itoa(seed))
				})
			}
			both.Wait()
			won := 0
			for i := range said {
				switch {
				case said[i] == "end":
					won = i
				case same || !strings.HasPrefix(said[i], string(core.ErrExists)):
					t.Errorf("same bytes %v, round %d: %q", same, round, said)
				}
			}
			if !same && said[0] == said[1] {
				t.Errorf("round %d: %q", round, said)
			}
			for _, takes := range []string{"packing", "file"} {
				if err := os.Remove(filepath.Join(files, takes)); err != nil {
					t.Fatal(err)
				}
			}
			seed := byte(1)
			if !same {
				seed += byte(won)
			}
			sweepAway(t, dir)
			wantBackup(t, dir, spooled(seed))
		}
	}
}
