package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
	"github.com/offsite-backup/offsite/core/filetree/faulty"
	"github.com/offsite-backup/offsite/core/object"
)

// TestMain is also the process that a test kills.
func TestMain(m *testing.M) {
	flag.Parse()
	switch {
	case os.Getenv(suiteTask) != "":
		dir := conformance.Directory(os.Getenv(suiteDir))
		if err := conformance.Child(context.Background(), target(dir), os.Getenv(suiteTask), os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case os.Getenv(childSpool) != "":
		shareChild()
	case os.Getenv(childDir) != "":
		child()
	default:
		os.Exit(m.Run())
	}
}

// ways are the ways to give a file its name, each by what it goes without.
var ways = map[string][]faulty.Call{
	"rename": nil,
	"link":   {faulty.RenameNoReplace},
	"claim":  {faulty.RenameNoReplace, faulty.Link},

	"no locks": {faulty.TryLock},
}

// in returns a directory with a way, and with what goes wrong besides, which comes
// first.
func in(dir, way string, faults ...faulty.Fault) *faulty.FS {
	fsys := faulty.New(tree{dir})
	for _, f := range faults {
		fsys.Inject(f)
	}
	for _, call := range ways[way] {
		fsys.Inject(faulty.Fault{Call: call, Rest: true, Err: errors.ErrUnsupported})
	}
	return fsys
}

// places are directories on the file systems that there are.
func places(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{"disk": t.TempDir()}
	if dir, err := os.MkdirTemp("/dev/shm", "offsite"); err == nil {
		all["memory"] = dir
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
	}
	return all
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func put(ctx context.Context, s object.Store, key string, b []byte) error {
	_, err := s.Put(ctx, key, section(b), core.CRC64(crc64nvme.Checksum(b)))
	return err
}

func get(ctx context.Context, s object.Store, key string) ([]byte, error) {
	o, err := s.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	r, err := s.Range(ctx, o, 0, o.Size)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

// Of eight that create one object at once, one does, and the object is its own.
func TestRace(t *testing.T) {
	const rounds, racers = 200, 8
	for fsName, dir := range places(t) {
		for way := range ways {
			t.Run(fsName+" "+way, func(t *testing.T) {
				fsys := in(filepath.Join(dir, way), way)
				// The disk's own pace is not what this is about.
				fsys.Inject(faulty.Fault{Call: faulty.Sync, Rest: true})
				fsys.Inject(faulty.Fault{Call: faulty.SyncDir, Rest: true})
				s := newStore(fsys, core.Env{})
				for round := range rounds {
					key := fmt.Sprint("data/", round)
					errs := make([]error, racers)
					var all sync.WaitGroup
					start := make(chan struct{})
					for i := range racers {
						all.Go(func() {
							<-start
							errs[i] = put(t.Context(), s, key, fmt.Appendf(nil, "racer %d", i))
						})
					}
					close(start)
					all.Wait()
					winner := slices.Index(errs, nil)
					for i, err := range errs {
						lost := errors.Is(err, core.ErrExists) || way == "claim" && errors.Is(err, core.ErrUnavailable)
						if i != winner && !lost {
							t.Errorf("round %d: %d won, %d answers %v", round, winner, i, err)
						}
					}
					if got, err := get(t.Context(), s, key); err != nil || string(got) != fmt.Sprint("racer ", winner) {
						t.Errorf("round %d: %d won, it is %q, %v", round, winner, got, err)
					}
				}
				if left, err := os.ReadDir(filepath.Join(dir, way, "tmp")); err != nil || len(left) > 0 {
					t.Errorf("left %v, %v", left, err)
				}
			})
		}
	}
}

const (
	childDir = "OFFSITE_TEST_DIR" // where the child works
	childWay = "OFFSITE_TEST_WAY"

	pieces    = 20
	pieceSize = 100_000
	killedKey = "data/killed.tar"
	metaKey   = "meta/killed.json"
)

// whole is what the child stores, and the same in every process.
func whole() ([]byte, []object.Part) {
	body := make([]byte, pieces*pieceSize-7)
	_, _ = rand.NewChaCha8([32]byte{42}).Read(body)
	var parts []object.Part
	for at := 0; at < len(body); at += pieceSize {
		piece := body[at:min(at+pieceSize, len(body))]
		parts = append(parts, object.Part{Index: len(parts), Offset: int64(at), Size: int64(len(piece)), CRC64: core.CRC64(crc64nvme.Checksum(piece))})
	}
	return body, parts
}

// child uploads, or goes on with it, and says on standard output what it does.
func child() {
	ctx := context.Background()
	body, parts := whole()
	s := newStore(in(os.Getenv(childDir), os.Getenv(childWay)), core.Env{})
	if err := upload(ctx, s, body, parts); err != nil {
		fmt.Println("error", core.KindOf(err), err)
		os.Exit(1)
	}
	fmt.Println("end")
}

func upload(ctx context.Context, s *filetree.Store, body []byte, parts []object.Part) error {
	if _, err := s.Stat(ctx, killedKey); err == nil {
		return commit(ctx, s)
	}
	var m object.Multipart
	var have []object.Part
	for found, err := range s.Multiparts(ctx, killedKey) {
		if errors.Is(err, core.ErrNoPlace) {
			break
		}
		if err != nil {
			return err
		}
		if have, err = found.Parts(ctx); err != nil {
			return err
		}
		if m = found; len(have) > 0 {
			break
		}
	}
	for _, p := range have {
		fmt.Println("have", p.Index)
	}
	if m == nil {
		var err error
		if m, err = s.Begin(ctx, killedKey, fmt.Sprintf("%016d", os.Getpid())); err != nil {
			return err
		}
	}
	for _, p := range parts {
		if slices.Contains(have, p) {
			continue
		}
		fmt.Println("put", p.Index)
		if err := m.Put(ctx, p, section(body[p.Offset:p.Offset+p.Size])); err != nil {
			return err
		}
		fmt.Println("done", p.Index)
	}
	fmt.Println("commit")
	if _, err := m.Commit(ctx, parts); err != nil {
		return err
	}
	fmt.Println("committed")
	return commit(ctx, s)
}

func commit(ctx context.Context, s *filetree.Store) error {
	if _, err := s.Stat(ctx, metaKey); err == nil {
		return nil
	}
	fmt.Println("meta")
	return put(ctx, s, metaKey, []byte("the document"))
}

// A child is killed at random moments until it gets through. What it was told to be
// on record it never sends again, and what has a name is whole.
func TestKill(t *testing.T) {
	body, _ := whole()
	chance := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for way := range ways {
		t.Run(way, func(t *testing.T) {
			kills := 0
			for run := 0; kills < 25; run++ {
				dir := filepath.Join(t.TempDir(), "place")
				done := map[int]bool{}
				for {
					lines := runChild(t, dir, way, chance)
					said := follow(t, lines, done)
					wantWhole(t, dir, body)
					if said == "end" {
						break
					}
					kills++
					age(t, dir, way)
				}
				wantNothingLeft(t, dir)
			}
			t.Logf("killed %d times", kills)
		})
	}
}

// runChild runs a child, kills it a moment after some line of its output, and
// returns what it said.
func runChild(t *testing.T, dir, way string, chance *rand.Rand) (lines []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childWay+"="+way)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill, word := chance.IntN(3*pieces), ""
	if chance.IntN(3) == 0 { // where names are given
		kill, word = -1, []string{"commit", "committed", "meta"}[chance.IntN(3)]
	}
	moment := time.Duration(chance.IntN(3000)) * time.Microsecond
	var timer *time.Timer
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		lines = append(lines, scan.Text())
		if len(lines) == kill || scan.Text() == word {
			timer = time.AfterFunc(moment, func() { _ = cmd.Process.Kill() })
		}
	}
	_ = cmd.Wait() // it was killed, or says so itself
	if timer != nil {
		timer.Stop()
	}
	return lines
}

// follow checks what a child said against what earlier ones did, and returns its
// last line.
func follow(t *testing.T, lines []string, done map[int]bool) (last string) {
	t.Helper()
	have := map[int]bool{}
	for _, line := range lines {
		word, rest, _ := strings.Cut(line, " ")
		index := -1
		_, _ = fmt.Sscan(rest, &index)
		switch word {
		case "have":
			have[index] = true
		case "put":
			if done[index] {
				t.Errorf("part %d was on record and is sent again", index)
			}
		case "done":
			done[index] = true
		case "error":
			t.Errorf("the child failed: %s", line)
		}
		last = line
	}
	return last
}

// wantWhole checks what has a name.
func wantWhole(t *testing.T, dir string, body []byte) {
	t.Helper()
	s := newStore(tree{dir}, core.Env{})
	got, err := get(t.Context(), s, killedKey)
	if err == nil && !bytes.Equal(got, body) || err != nil && !errors.Is(err, core.ErrNotFound) && !errors.Is(err, core.ErrNoPlace) {
		t.Errorf("the archive has %d bytes, %v", len(got), err)
	}
	if doc, e := get(t.Context(), s, metaKey); e == nil && (string(doc) != "the document" || err != nil) {
		t.Errorf("the document is %q, the archive %v", doc, err)
	}
}

// age makes what the killed child may have left so old that it is stale, where only
// dates tell: a claim, and without locks an upload.
func age(t *testing.T, dir, way string) {
	t.Helper()
	claims, _ := filepath.Glob(filepath.Join(dir, "tmp", "*.claim"))
	if slices.Contains(ways[way], faulty.TryLock) {
		partials, _ := filepath.Glob(filepath.Join(dir, "tmp", "*.partial"))
		claims = append(claims, partials...)
	}
	for _, name := range claims {
		if err := os.Chtimes(name, time.Time{}, time.Now().Add(-3*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
}

// wantNothingLeft removes what a sweep would, and looks into tmp.
func wantNothingLeft(t *testing.T, dir string) {
	t.Helper()
	for m, err := range newStore(tree{dir}, core.Env{}).Multiparts(t.Context(), "") {
		if err == nil {
			err = m.Abort(t.Context())
		}
		if err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// What a crash of the machine took from a partial file is not vouched for.
func TestPartsAreReadBack(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := newStore(tree{dir}, core.Env{})
	body, parts := whole()
	m, err := s.Begin(ctx, killedKey, "0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts[:3] {
		if err := m.Put(ctx, p, section(body[p.Offset:][:p.Size])); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, "tmp", "data,killed.tar.0123456789abcdef.partial")
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(make([]byte, 4096), pieceSize)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if have, err := m.Parts(ctx); err != nil || !slices.Equal(have, []object.Part{parts[0], parts[2]}) {
		t.Errorf("vouched for %v, %v", have, err)
	}
}

// Of two that go on with one upload the system lets one, until it ends.
func TestLock(t *testing.T) {
	for fsName, dir := range places(t) {
		ctx := t.Context()
		first, second := newStore(tree{dir}, core.Env{}), newStore(tree{dir}, core.Env{})
		body, parts := whole()
		m, err := first.Begin(ctx, killedKey, "0123456789abcdef")
		if err != nil {
			t.Fatal(err)
		}
		piece := func(p object.Part) *io.SectionReader { return section(body[p.Offset:][:p.Size]) }
		if err := m.Put(ctx, parts[0], piece(parts[0])); err != nil {
			t.Fatal(err)
		}
		for other, err := range second.Multiparts(ctx, killedKey) {
			if err != nil {
				t.Fatal(err)
			}
			if have, err := other.Parts(ctx); err != nil || len(have) > 0 {
				t.Errorf("%s: vouched for %v, %v", fsName, have, err)
			}
			wantKind(t, fsName, other.Put(ctx, parts[1], piece(parts[1])), core.ErrNotFound)
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			if have, err := other.Parts(ctx); err != nil || len(have) != 1 {
				t.Errorf("%s: vouched for %v, %v", fsName, have, err)
			}
			if err := other.Put(ctx, parts[1], piece(parts[1])); err != nil {
				t.Errorf("%s: %v", fsName, err)
			}
			wantKind(t, fsName, m.Put(ctx, parts[2], piece(parts[2])), core.ErrNotFound)
			break
		}
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	}
}
