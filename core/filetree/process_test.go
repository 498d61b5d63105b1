package filetree_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
	"github.com/offsite-backup/offsite/core/filetree/faulty"
	"github.com/offsite-backup/offsite/core/object"
)

// A process is one of a test: those whose names are in ended have.
type process struct {
	name  string
	ended *[]string
}

func (p process) Name() string           { return p.name }
func (p process) Ended(name string) bool { return slices.Contains(*p.ended, name) }

// as is a Store without locks, of a process that a test made up.
func as(fsys filetree.FS, p process) *filetree.Store {
	return filetree.New(without(fsys, locking["no locks"]), filetree.Options{Limits: object.Limits{PartSize: partSize, Workers: 2}, Process: p})
}

// Without locks, what a process left that is known to have ended is gone on with at
// once, by one.
func TestOwnerHasEnded(t *testing.T) {
	ctx, disk := t.Context(), faulty.NewDisk()
	var ended []string
	m1, parts := begin(t, as(disk, process{"first", &ended}), archive)
	vouched := func(s *filetree.Store) int {
		have, err := found(t, ctx, s).Parts(ctx)
		if err != nil {
			t.Error(err)
		}
		return len(have)
	}
	second, third := as(disk, process{"second", &ended}), as(disk, process{"third", &ended})
	if n := vouched(second); n != 0 {
		t.Errorf("while it lives %d parts are vouched for", n)
	}
	ended = []string{"first"}
	if n := vouched(second); n != len(parts) {
		t.Errorf("when it has ended %d parts are vouched for, of %d", n, len(parts))
	}
	m2, m3 := found(t, ctx, second), found(t, ctx, third)
	if err := m2.Put(ctx, parts[1], pieceOf(archive, parts[1])); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "the third's part", m3.Put(ctx, parts[2], pieceOf(archive, parts[2])), core.ErrNotFound)
	wantKind(t, "the first's part", m1.Put(ctx, parts[2], pieceOf(archive, parts[2])), core.ErrNotFound)
	if n := vouched(third); n != 0 {
		t.Errorf("while the second lives %d parts are vouched for", n)
	}
	ended = []string{"first", "second"}
	if n := vouched(third); n != len(parts) {
		t.Errorf("when the second has ended %d parts are vouched for, of %d", n, len(parts))
	}
	o, err := found(t, ctx, third).Commit(ctx, parts)
	if err != nil {
		t.Fatal(err)
	}
	wantArchive(t, disk, o, archive)
	if left := leftovers(t, disk); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// Whoever takes an upload over may be killed at any moment, or lose the answer to
// anything: the next one finds all parts that were on record.
func TestTakeOverLosesNothing(t *testing.T) {
	ctx := t.Context()
	for _, late := range []bool{false, true} {
		for n := 1; ; n++ {
			disk := faulty.NewDisk()
			ended := []string{"first", "second"}
			_, parts := begin(t, as(disk, process{"first", &ended}), archive)
			fsys := faulty.New(disk)
			fsys.Inject(faulty.Fault{Nth: n, Late: late, Rest: true, Err: faulty.ErrStopped})
			err := takeOver(ctx, as(fsys, process{"second", &ended}), parts[0])
			if fsys.Fired() == 0 {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			have, err := found(t, ctx, as(disk, process{"third", &ended})).Parts(ctx)
			if err != nil || len(have) != len(parts) {
				t.Errorf("stopped at operation %d (late: %v): %d of %d parts are found, %v; %+v", n, late, len(have), len(parts), err, fsys.Ops())
			}
		}
	}
}

func takeOver(ctx context.Context, s object.Store, p object.Part) error {
	for m, err := range s.Multiparts(ctx, archiveKey) {
		if err != nil {
			return err
		}
		return m.Put(ctx, p, pieceOf(archive, p))
	}
	return errors.New("no upload")
}

// TestMain is also the process that is killed.
func TestMain(m *testing.M) {
	if os.Getenv("FILETREE_TEST_DIE") == "" {
		os.Exit(m.Run())
	}
	fmt.Println(filetree.System.Name())
	select {} // to be killed
}

// The system tells which process has ended.
func TestProcess(t *testing.T) {
	own := filetree.System.Name()
	if own == "" {
		t.Skip("this system tells no processes apart")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FILETREE_TEST_DIE=true")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var line [200]byte
	n, _ := out.Read(line[:]) // what is no name, fails below
	child := strings.TrimSpace(string(line[:n]))
	words := strings.Split(child, " ")
	if len(words) != 3 || child == own || len(child) > 200 {
		t.Fatalf("%q, %q", own, child)
	}
	for name, want := range map[string]bool{
		own: false, child: false,
		words[0] + " " + words[1] + " 1":         true, // its id went to another since
		words[0] + " 0 1":                        false,
		words[0] + " -1 1":                       false,
		words[0] + " 1":                          false,
		words[0] + " x 1":                        false,
		strings.Repeat("0", 32) + " 999999 1234": false,
		"":                                       false,
		"\x00":                                   false,
	} {
		if filetree.System.Ended(name) != want {
			t.Errorf("%q has ended: %v", name, !want)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if !filetree.System.Ended(child) {
		t.Errorf("%q was killed, and has not ended", child)
	}
}
