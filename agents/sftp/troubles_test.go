package sftp

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/fault"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
	"github.com/offsite-backup/offsite/core/object"
)

// before is a proxy before a server, with rules for its connections.
func before(t *testing.T, server *emulator.SFTP, rules ...*fault.Rule) *fault.Proxy {
	t.Helper()
	p, err := fault.Start(fault.Options{Upstream: server.Address, Opaque: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	p.Arm(rules...)
	return p
}

// hostsOf writes a file of known hosts.
func hostsOf(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What is wrong with the credentials, the server or the way there is a clear error of
// each call, in seconds.
func TestTroubles(t *testing.T) {
	sshd, other := openssh.Get(t), pkgsftp.Get(t)
	dir := "troubles"
	id := prove.Uploaded(t, prove.Open(t, configured(sshd.SFTP, sshd.Address, dir), core.Env{}), prove.Noise(1000))
	expired, err := sshd.Certificate(t.TempDir(), time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := userKey(t, sshd.Key)
	with := func(change func(*Config)) *Config {
		c := configured(sshd.SFTP, sshd.Address, dir)
		change(c)
		return c
	}
	at := func(address string) *Config {
		c := configured(sshd.SFTP, address, dir)
		return c
	}
	always := func(f fault.Fault) *fault.Rule { return &fault.Rule{Times: fault.Always, Fault: f} }
	for name, test := range map[string]struct {
		config *Config
		want   core.ErrorKind
		text   []string
	}{
		"unknown host": {with(func(c *Config) { c.HostKey, c.KnownHosts = "", hostsOf(t, "") }), core.ErrUnauthenticated,
			[]string{"is not known", sshd.HostKey, sshd.HostLine(sshd.Address)}},
		"changed host": {with(func(c *Config) {
			c.HostKey, c.KnownHosts = "", hostsOf(t, strings.Replace(other.HostLine(other.Address), other.Address[10:], sshd.Address[10:], 1)+"\n")
		}), core.ErrUnauthenticated, []string{"has changed", sshd.HostKey, other.HostKey}},
		"another pin":         {with(func(c *Config) { c.HostKey = other.HostKey }), core.ErrUnauthenticated, []string{sshd.HostKey, other.HostKey}},
		"wrong key":           {with(func(c *Config) { c.KeyFile = other.Key }), core.ErrUnauthenticated, []string{"does not accept " + sshd.User, "authorized_keys"}},
		"wrong user":          {with(func(c *Config) { c.User = "nobodys-user" }), core.ErrUnauthenticated, []string{"does not accept nobodys-user"}},
		"wrong password":      {with(func(c *Config) { c.KeyFile, c.Password = "", core.NewSecret("canary") }), core.ErrUnauthenticated, []string{"look at user and password"}},
		"expired certificate": {with(func(c *Config) { c.KeyFile = expired }), core.ErrUnauthenticated, []string{"the certificate expired on "}},
		"no credentials":      {with(func(c *Config) { c.KeyFile = "" }), core.ErrUnauthenticated, []string{"SSH_AUTH_SOCK"}},
		"nobody listens":      {at("127.0.0.1:1"), core.ErrUnavailable, []string{"127.0.0.1:1", "connection refused"}},
		"no such host":        {with(func(c *Config) { c.Host = "nas.invalid" }), core.ErrUnavailable, []string{"nas.invalid"}},
		"no SSH": {at(before(t, &emulator.SFTP{Address: other.Address}, always(fault.CutDown(0))).Addr()), core.ErrUnavailable,
			[]string{"EOF"}},
		"a held connection": {at(before(t, sshd.SFTP, always(fault.Hold())).Addr()), core.ErrUnavailable, []string{"no answer"}},
		"a dead connection": {at(before(t, sshd.SFTP, always(fault.StallDown(3500))).Addr()), core.ErrUnavailable, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := prove.NewWitness(t)
			env := w.Env()
			env.Patience = core.Patience{Stall: time.Second, Retry: 100 * time.Millisecond}
			errs := w.Calls(prove.Open(t, test.config, env), id, 1000)
			for op, err := range errs {
				prove.Kind(t, op, err, test.want)
				for _, part := range test.text {
					if err != nil && !strings.Contains(err.Error(), part) {
						t.Errorf("%s: %v, want %q", op, err, part)
					}
				}
			}
			w.Silent(errs, string(text), "canary")
		})
	}
}

// A place that is not there, and one that is no directory, are told apart from one
// that is empty.
func TestNoPlace(t *testing.T) {
	server := openssh.Get(t)
	a := prove.Open(t, configured(server.SFTP, server.Address, "no-place/below"), core.Env{})
	_, err := prove.List(t.Context(), a)
	prove.Kind(t, "a list", err, core.ErrNoPlace)
	body := prove.Noise(1000)
	id := prove.Uploaded(t, a, body) // makes it
	prove.Holds(t, a, id, body)
	for _, dir := range []string{"no-place", "no-place/below", "no-place/below/data"} {
		if info, err := os.Stat(filepath.Join(server.Dir, dir)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
	if err := os.WriteFile(filepath.Join(server.Dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a = prove.Open(t, configured(server.SFTP, server.Address, "file"), core.Env{Patience: core.Patience{Retry: time.Millisecond}})
	if _, err := prove.List(t.Context(), a); err == nil {
		t.Error("a file is listed as an empty place")
	}
}

// A user without the right to write, or to read, is told so, and the operation with
// its path.
func TestDenied(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start a server for another user")
	}
	dir, err := os.MkdirTemp("/tmp", "sftp") // others can get there
	if err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	server, err := emulator.StartSSHDFor(t.Context(), dir, "nobody")
	if errors.Is(err, emulator.ErrMissing) && os.Getenv("CI") != "true" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	own := configured(server.SFTP, server.Address, "theirs")
	root := filepath.Join(server.Dir, "theirs")
	for _, d := range []string{server.Dir, root, root + "/data", root + "/meta", root + "/gone", root + "/tmp"} {
		if err := errors.Join(os.MkdirAll(d, 0o755), os.Chmod(d, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	env := core.Env{Patience: core.Patience{Retry: time.Second}}
	a := prove.Open(t, own, env)
	if ids, err := prove.List(t.Context(), a); err != nil || len(ids) > 0 {
		t.Errorf("a list: %v, %v", ids, err)
	}
	_, err = prove.Upload(t, a, prove.Noise(1000))
	prove.Kind(t, "an upload", err, core.ErrDenied)
	if err == nil || !strings.Contains(err.Error(), root+"/tmp/") {
		t.Errorf("%v does not say where", err)
	}
	if f := prove.Examined(t, a)["write"]; f.Verdict != core.VerdictFailed || f.Right != "write permission in "+root+"/tmp" {
		t.Errorf("examined: %+v", f)
	}
	if err := os.Chmod(root, 0); err != nil {
		t.Fatal(err)
	}
	_, err = prove.List(t.Context(), a)
	prove.Kind(t, "a list", err, core.ErrDenied)
}

// A mortal process has always ended for the next one.
type mortal struct{}

func (*mortal) Name() string      { return "mortal" }
func (*mortal) Ended(string) bool { return true }

// Who may remove nothing makes, lists and restores backups, goes on with an upload, and
// what stays is no error.
func TestMayNotRemove(t *testing.T) {
	openssh.Get(t) // or there is none
	server, err := emulator.StartSSHD(t.Context(), t.TempDir(), "ForceCommand internal-sftp -P remove,rmdir")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	c := configured(server.SFTP, server.Address, "keeps")
	a := prove.Open(t, c, core.Env{})
	bodies := map[core.ID][]byte{}
	for _, size := range []int{1000, 3*smallPart + 1} {
		body := prove.Noise(size)
		bodies[prove.Uploaded(t, a, body)] = body
	}
	for id := range bodies {
		if _, err := core.Download(t.Context(), a, id, filepath.Join(t.TempDir(), "back")); err != nil { // which checks it
			t.Error(err)
		}
	}
	if err := a.Delete(t.Context(), slices.Collect(maps.Keys(bodies))[0]); !errors.Is(err, core.ErrDenied) {
		t.Errorf("a delete: %v", err)
	}
	begun := func() *filetree.Store {
		fsys, err := newTree(*c, core.Env{})
		if err != nil {
			t.Fatal(err)
		}
		s := filetree.New(fsys, filetree.Options{Limits: object.Limits{PartSize: smallPart, Workers: 1}, NoLocks: true, Process: new(mortal)})
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	one, two := prove.Noise(smallPart), prove.Noise(1000)
	parts := []object.Part{{Size: smallPart, CRC64: prove.Sum(one)}, {Index: 1, Offset: smallPart, Size: 1000, CRC64: prove.Sum(two)}}
	m, err := begun().Begin(t.Context(), "data/killed.bin", "aaaaaaaaaaaaaaaa")
	if err == nil {
		err = m.Put(t.Context(), parts[0], prove.Section(one))
	}
	if err != nil {
		t.Fatal(err)
	}
	for m, err := range begun().Multiparts(t.Context(), "data/killed.bin") {
		if err != nil {
			t.Fatal(err)
		}
		if there, err := m.Parts(t.Context()); err != nil || len(there) != 1 {
			t.Errorf("%v, %v, want one part", there, err)
		}
		if err := m.Put(t.Context(), parts[1], prove.Section(two)); err != nil {
			t.Fatal(err)
		}
		if o, err := m.Commit(t.Context(), parts); err != nil || o.Size != smallPart+1000 {
			t.Errorf("%+v, %v", o, err)
		}
	}
	for left, err := range a.(core.Sweeper).Sweep(t.Context(), func(core.ID) bool { return true }) {
		if err != nil && (left.Key != "data/killed.bin" || !errors.Is(err, core.ErrDenied)) { // that one belongs to no backup
			t.Errorf("a sweep: %v: %v", left, err)
		}
	}
}

// A server that is killed in the middle of an upload, and comes back, gets the rest.
func TestServerIsKilled(t *testing.T) {
	dir, err := os.MkdirTemp("", "sftp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	openssh.Get(t) // or there is none
	server, err := emulator.StartSSHD(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	p := before(t, server.SFTP)
	c := configured(server.SFTP, p.Addr(), "killed")
	w := prove.NewWitness(t)
	body := prove.Noise(20 * smallPart)
	stored := make(chan error, 1)
	a := prove.Open(t, c, w.Env())
	var id core.ID
	go func() {
		b, err := prove.Upload(t, a, body)
		id = b.ID
		stored <- err
	}()
	for end := time.Now().Add(20 * time.Second); p.Counts().Up < 3*smallPart; {
		if time.Now().After(end) {
			t.Fatal("the upload does not begin")
		}
		pause(t, time.Millisecond)
	}
	server.Stop()
	if server, err = emulator.StartSSHD(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	p.Forward(server.Address)
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
	prove.Holds(t, a, id, body)
	if sent := p.Counts().Up; sent > int64(len(body))+(2*smallPool+1)*smallPart {
		t.Errorf("%d bytes were sent, of %d", sent, len(body))
	}
}

// pause waits between two looks at something that a test waits for.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	<-ctx.Done()
}

// A connection that dies while nothing is asked is found out by its keepalives, and
// the next operation gets another one. One that lives is kept.
func TestKeepAlive(t *testing.T) {
	server := pkgsftp.Get(t)
	idle := func(p *fault.Proxy) *tree {
		c := configured(server.SFTP, p.Addr(), "keep-alive")
		fsys, err := newTree(*c, core.Env{Patience: core.Patience{Stall: time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = fsys.Close() })
		if _, err := fsys.Lstat(t.Context(), "."); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return fsys
	}
	open := func(fsys *tree) int {
		fsys.pool.mu.Lock()
		defer fsys.pool.mu.Unlock()
		return len(fsys.pool.all)
	}
	sound := before(t, server.SFTP)
	alive := idle(sound)
	counts := sound.Counts()
	dying := before(t, server.SFTP, &fault.Rule{Fault: fault.StallDown(counts.Down)})
	dead := idle(dying)
	for end := time.Now().Add(20 * time.Second); open(dead) > 0; pause(t, 10*time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a dead connection is kept")
		}
	}
	for _, fsys := range []*tree{alive, dead} {
		if _, err := fsys.Lstat(t.Context(), "."); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
	if now := sound.Counts(); now.Opened != 1 || now.Up == counts.Up {
		t.Errorf("an idle connection: %d were opened; %d bytes were sent, then %d", now.Opened, counts.Up, now.Up)
	}
}
