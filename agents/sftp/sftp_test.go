package sftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// awkward is a server with more habits.
func awkward(t *testing.T, habits emulator.Habits) *emulator.PkgSFTP {
	t.Helper()
	s, err := emulator.StartAwkward(t.TempDir(), habits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// TestBare proves the agent on a server that knows no extension and whose renames
// replace what is there, where a claim is all that is left.
func TestBare(t *testing.T) {
	server := awkward(t, emulator.Habits{Bare: true})
	target := target(t, server.SFTP)
	// Not those that look at once after a claim was left: it is in the way for a minute.
	few := []string{"A02", "A05", "A07", "C01", "C08", "C10", "H02", "H04", "J02", "K01"}
	target.Select = func(c conformance.Case) bool { return slices.Contains(few, c.ID) }
	conformance.Run(t, target)
}

// TestMisbehaving proves it on one that reads short and answers out of order.
func TestMisbehaving(t *testing.T) {
	server := awkward(t, emulator.Habits{ShortReads: 10_000, Reordered: true})
	target := target(t, server.SFTP)
	few := []string{"A02", "D05", "H01", "K01", "Q03"}
	target.Select = func(c conformance.Case) bool { return slices.Contains(few, c.ID) }
	conformance.Run(t, target)
}

// treeOn is the directory of a place on a server, which is there.
func treeOn(t *testing.T, server *emulator.SFTP, dir string, env core.Env) *tree {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(server.Dir, dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	fsys, err := newTree(*configured(server, server.Address, dir), env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fsys.Close() })
	return fsys
}

// touch makes files of their own names.
func touch(t *testing.T, fsys *tree, names ...string) {
	t.Helper()
	for _, name := range names {
		f, err := fsys.OpenFile(t.Context(), name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		if err == nil {
			_, err = f.WriteAt([]byte(name), 0)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Each server's way to give a file its name is the one that surely replaces nothing.
func TestWays(t *testing.T) {
	servers := map[string]*emulator.SFTP{
		"openssh": openssh.Get(t).SFTP, "pkgsftp": pkgsftp.Get(t).SFTP, "bare": awkward(t, emulator.Habits{Bare: true}).SFTP,
	}
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			fsys := treeOn(t, server, "ways", core.Env{})
			touch(t, fsys, "tmp/a", "tmp/b", "taken")
			link, rename := fsys.Link(t.Context(), "tmp/a", "free"), fsys.RenameNoReplace(t.Context(), "tmp/b", "free")
			linked := fsys.Link(t.Context(), "tmp/a", "taken")
			if name == "bare" {
				for _, err := range []error{link, rename, linked} {
					if !errors.Is(err, errors.ErrUnsupported) {
						t.Errorf("%v, want that it is not offered", err)
					}
				}
			} else if link != nil || !errors.Is(rename, errors.ErrUnsupported) || !errors.Is(linked, fs.ErrExist) {
				t.Errorf("a link: %v; a rename: %v; a link to what is taken: %v", link, rename, linked)
			}
			if got, err := os.ReadFile(filepath.Join(server.Dir, "ways", "taken")); string(got) != "taken" || err != nil {
				t.Errorf("what was there is %q by now, %v", got, err)
			}
			left, err := os.ReadDir(filepath.Join(server.Dir, "ways", "tmp"))
			if err != nil || len(left) != 2 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// A link that fails says nothing of links: a scratch file shows whether there are any.
func TestLinkFails(t *testing.T) {
	for name, test := range map[string]struct {
		fails int32 // links
		want  error
	}{
		"once": {1, nil}, "always": {1 << 20, errors.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			server := awkward(t, emulator.Habits{})
			fsys := treeOn(t, server.SFTP, "links", core.Env{})
			touch(t, fsys, "tmp/a")
			left := atomic.Int32{}
			left.Store(test.fails)
			server.Meet(func(kind byte) emulator.Reply {
				if kind == emulator.PacketExtended && left.Add(-1) >= 0 {
					return emulator.Fail
				}
				return emulator.Serve
			})
			err := fsys.Link(t.Context(), "tmp/a", "free")
			if err == nil || errors.Is(err, errors.ErrUnsupported) != (test.want != nil) {
				t.Errorf("the first link: %v", err)
			}
			if err := fsys.Link(t.Context(), "tmp/a", "free"); !errors.Is(err, test.want) {
				t.Errorf("the next: %v, want %v", err, test.want)
			}
			if left, err := os.ReadDir(filepath.Join(server.Dir, "links", "tmp")); err != nil || len(left) != 1 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// Where a server does not sync, parts on record are there when they are read back.
func TestPartsAreReadBack(t *testing.T) {
	for name, test := range map[string]struct {
		server *emulator.SFTP
		want   int // parts
	}{
		"openssh": {openssh.Get(t).SFTP, 2}, "pkgsftp": {pkgsftp.Get(t).SFTP, 1},
	} {
		t.Run(name, func(t *testing.T) {
			env := core.Env{}
			c := configured(test.server, test.server.Address, "read-back")
			begun := newStore(treeOn(t, test.server, "read-back", env), c, env)
			m, err := begun.Begin(t.Context(), "data/app.bin", "aaaaaaaaaaaaaaaa")
			if err != nil {
				t.Fatal(err)
			}
			body := prove.Noise(2 * smallPart)
			for i := range 2 {
				half := body[i*smallPart : (i+1)*smallPart]
				p := object.Part{Index: i, Offset: int64(i) * smallPart, Size: smallPart, CRC64: prove.Sum(half)}
				if err := m.Put(t.Context(), p, prove.Section(half)); err != nil {
					t.Fatal(err)
				}
			}
			partial, err := filepath.Glob(filepath.Join(test.server.Dir, "read-back", "tmp", "*.partial"))
			if err != nil || len(partial) != 1 {
				t.Fatal(partial, err)
			}
			f, err := os.OpenFile(partial[0], os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt(make([]byte, 4096), smallPart) // as after a loss of power
				err = errors.Join(err, f.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			parts, err := m.Parts(t.Context())
			if err != nil || len(parts) != test.want {
				t.Errorf("%d parts are there, want %d; %v", len(parts), test.want, err)
			}
		})
	}
}

// A range that is closed takes no connection with it, however far the server is.
func TestFar(t *testing.T) {
	server := openssh.Get(t)
	way, err := fault.Start(fault.Options{Upstream: server.Address, Opaque: true, RoundTrip: 700 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = way.Close() })
	near := prove.Open(t, configured(server.SFTP, server.Address, "far"), core.Env{})
	var id core.ID
	for range 3 {
		id = prove.Uploaded(t, near, prove.Noise(10*smallPart))
	}
	c := configured(server.SFTP, way.Addr(), "far")
	far := prove.Open(t, c, core.Env{})
	if all, err := prove.List(t.Context(), far); err != nil || len(all) != 3 {
		t.Fatalf("%v, %v", all, err)
	}
	archive, err := far.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	for range 3 {
		r, err := archive.Range(t.Context(), 0, -1)
		if err == nil {
			_, err = io.ReadFull(r, make([]byte, 1))
			err = errors.Join(err, r.Close())
		}
		if err != nil {
			t.Error(err)
		}
	}
	if n := way.Counts().Opened; n > smallPool {
		t.Errorf("%d connections were opened, want at most %d", n, smallPool)
	}
}

// A server that does not sync is said to once, and one that does, not at all.
func TestSyncIsSaid(t *testing.T) {
	for name, server := range map[string]*emulator.SFTP{"openssh": openssh.Get(t).SFTP, "pkgsftp": pkgsftp.Get(t).SFTP} {
		var log bytes.Buffer
		a := prove.Open(t, configured(server, server.Address, "syncs"), core.Env{Log: slog.New(slog.NewTextHandler(&log, nil))})
		for range 2 {
			prove.Uploaded(t, a, prove.Noise(10))
		}
		want := map[string]int{"openssh": 0, "pkgsftp": 1}[name]
		if n := strings.Count(log.String(), "fsync@openssh.com"); n != want {
			t.Errorf("%s: said %d times, want %d:\n%s", name, n, want, log.String())
		}
	}
}

// A server that takes one connection and no more is enough, without a wait.
func TestOneConnection(t *testing.T) {
	server := awkward(t, emulator.Habits{Refuses: 1})
	c := configured(server.SFTP, server.Address, "one")
	c.Connections = 4
	a := prove.Open(t, c, core.Env{})
	body := prove.Noise(5*smallPart + 1)
	id := prove.Uploaded(t, a, body)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			if _, err := core.Download(t.Context(), a, id, filepath.Join(t.TempDir(), fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
			if _, err := prove.List(t.Context(), a); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// Whatever a server does with a packet, an upload ends well or with an error, and the
// next one stores it.
func TestServerMisbehaves(t *testing.T) {
	for name, reply := range map[string]emulator.Reply{"fails": emulator.Fail, "hangs": emulator.Hang, "hangs up": emulator.HangUp} {
		for _, kind := range []byte{emulator.PacketOpen, emulator.PacketClose, emulator.PacketWrite, emulator.PacketLstat, emulator.PacketExtended, emulator.PacketRead} {
			t.Run(fmt.Sprintf("%s at %d", name, kind), func(t *testing.T) {
				t.Parallel()
				server := awkward(t, emulator.Habits{})
				a := prove.Open(t, configured(server.SFTP, server.Address, "x"), core.Env{Patience: core.Patience{Stall: time.Second, Retry: 10 * time.Second}})
				prove.Uploaded(t, a, prove.Noise(1)) // the agent knows the place
				var met atomic.Int32
				server.Meet(func(k byte) emulator.Reply {
					if k != kind {
						return emulator.Serve
					}
					if n := met.Add(1); n%7 == 3 && (n < 20 || reply != emulator.Hang) { // each hang takes its time
						return reply
					}
					return emulator.Serve
				})
				body := prove.Noise(3*smallPart + 1)
				b, err := prove.Upload(t, a, body)
				if err == nil {
					_, err = core.Download(t.Context(), a, b.ID, filepath.Join(t.TempDir(), "back"))
				}
				if err != nil {
					t.Logf("%v", err)
					if core.KindOf(err) == "" {
						t.Errorf("no kind: %v", err)
					}
				}
				if met.Load() < 3 && kind != emulator.PacketExtended {
					t.Errorf("%d packets of that kind", met.Load())
				}
				server.Meet(nil)
				for _, err := range a.(core.Sweeper).Sweep(t.Context(), func(core.ID) bool { return true }) {
					if err != nil {
						t.Errorf("a sweep: %v", err)
					}
				}
				again := prove.Uploaded(t, a, body)
				if _, err := core.Download(t.Context(), a, again, filepath.Join(t.TempDir(), "back")); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A directory whose name a shell would take for a command is a directory.
func TestShell(t *testing.T) {
	server := openssh.Get(t).SFTP
	const dir = "$(touch owned); `touch owned` 'a' \"b\" | & > owned *?[x]"
	a := prove.Open(t, configured(server, server.Address, dir), core.Env{})
	body := prove.Noise(1000)
	prove.Holds(t, a, prove.Uploaded(t, a, body), body)
	if _, err := os.Stat(filepath.Join(server.Dir, dir, "meta")); err != nil {
		t.Error(err)
	}
	for _, where := range []string{server.Dir, filepath.Join(server.Dir, dir), "."} {
		if _, err := os.Stat(filepath.Join(where, "owned")); err == nil {
			t.Errorf("a command ran in %s", where)
		}
	}
}

// Links in the place are not followed, not even to another directory of it.
func TestLinks(t *testing.T) {
	server := openssh.Get(t).SFTP
	a := prove.Open(t, configured(server, server.Address, "links"), core.Env{})
	id := prove.Uploaded(t, a, prove.Noise(1000))
	place := filepath.Join(server.Dir, "links")
	err := os.Rename(filepath.Join(place, "data"), filepath.Join(place, "elsewhere"))
	if err == nil {
		err = os.Symlink("elsewhere", filepath.Join(place, "data"))
	}
	if err != nil {
		t.Fatal(err)
	}
	b := prove.Open(t, configured(server, server.Address, "links"), core.Env{})
	_, err = core.Download(t.Context(), b, id, filepath.Join(t.TempDir(), "back"))
	prove.Kind(t, "a download", err, core.ErrUnsupported)
	_, err = prove.Upload(t, b, prove.Noise(1000))
	prove.Kind(t, "an upload", err, core.ErrUnsupported)
	if left, err := os.ReadDir(filepath.Join(place, "elsewhere")); err != nil || len(left) != 1 {
		t.Errorf("behind the link: %v, %v", left, err)
	}
}

// Below the home directory, and by a path that goes through a link, is the same place.
func TestHome(t *testing.T) {
	server := openssh.Get(t).SFTP
	if err := os.Symlink(server.Dir+"/home-test", server.Dir+"/to-home-test"); err != nil {
		t.Fatal(err)
	}
	c := configured(server, server.Address, "")
	c.Dir = "~/home-test"
	body := prove.Noise(1000)
	id := prove.Uploaded(t, prove.Open(t, c, core.Env{}), body)
	for _, dir := range []string{"home-test", server.Dir + "/home-test", server.Dir + "/to-home-test"} {
		c.Dir = dir
		prove.Holds(t, prove.Open(t, c, core.Env{}), id, body)
	}
}

// Memory is bounded by what is on its way, however large the archive.
func TestMemory(t *testing.T) {
	const size, most = 256 << 20, 48 << 20
	server := openssh.Get(t).SFTP
	a := prove.Open(t, &Config{
		Host: "127.0.0.1", Port: configured(server, server.Address, "").Port, User: server.User, Dir: server.Dir + "/memory",
		KeyFile: server.Key, HostKey: server.HostKey,
	}, core.Env{})
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	ctx, end := context.WithCancel(t.Context())
	peak := make(chan uint64)
	go func() {
		var high uint64
		for ctx.Err() == nil {
			runtime.ReadMemStats(&now)
			high = max(high, now.HeapInuse)
			pause(t, 20*time.Millisecond)
		}
		peak <- high
	}()
	file := filepath.Join(t.TempDir(), "big.bin")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	b, err := core.Upload(t.Context(), a, file, core.Backup{Job: "app"})
	if err == nil {
		var archive core.Archive
		if archive, err = a.Open(t.Context(), b.ID); err == nil {
			var r io.ReadCloser
			if r, err = archive.Range(t.Context(), 0, -1); err == nil {
				_, err = io.Copy(io.Discard, struct{ io.Reader }{r})
				err = errors.Join(err, r.Close(), archive.Close())
			}
		}
	}
	end()
	if err != nil {
		t.Fatal(err)
	}
	if used := int64(<-peak) - int64(before.HeapInuse); used > most {
		t.Errorf("%d MiB were used for %d MiB", used>>20, size>>20)
	} else {
		t.Logf("%d MiB were used for %d MiB", used>>20, size>>20)
	}
	if err := a.Delete(t.Context(), b.ID); err != nil {
		t.Error(err)
	}
}
