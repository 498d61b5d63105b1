package sftp

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
	"github.com/offsite-backup/offsite/core/object"
)

// The servers of this package's tests.
var (
	openssh = emulator.Shared[*emulator.SSHD]{Start: emulator.StartSSHD}
	pkgsftp = emulator.Shared[*emulator.PkgSFTP]{Start: emulator.StartPkgSFTP}
)

// TestMain is also the process that the suite kills.
func TestMain(m *testing.M) {
	flag.Parse()
	// Keys of whoever runs the tests stay out of them.
	os.Unsetenv("SSH_AUTH_SOCK")
	if os.Getenv(suiteTask) != "" {
		if err := child(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	openssh.Stop()
	pkgsftp.Stop()
	os.Exit(code)
}

// suiteTask and suiteServer tell a child process of the suite what to do and where.
const (
	suiteTask   = "SFTP_CONFORMANCE_TASK"
	suiteServer = "SFTP_CONFORMANCE_SERVER"
)

// TestOpenSSH proves the agent by the common suite.
func TestOpenSSH(t *testing.T) {
	server := openssh.Get(t)
	conformance.Run(t, target(t, server.SFTP))
}

// TestPkgSFTP does so on a server that does everything the awkward way.
func TestPkgSFTP(t *testing.T) {
	server := pkgsftp.Get(t)
	conformance.Run(t, target(t, server.SFTP))
}

func target(t testing.TB, server *emulator.SFTP) conformance.Target {
	dir := conformance.Directory(server.Dir)
	var key []byte
	if t != nil {
		var err error
		if key, err = os.ReadFile(server.Key); err != nil {
			t.Fatal(err)
		}
	}
	open := func(ns conformance.Namespace, env core.Env, address string, wrap func(filetree.FS) filetree.FS) (core.Agent, error) {
		// A directory that is not there is no place, which reading says.
		if err := os.MkdirAll(dir.Path(ns), 0o700); err != nil {
			return nil, err
		}
		return inSmallParts(configured(server, address, string(ns)), env, wrap)
	}
	return conformance.Target{
		Open: func(_ context.Context, ns conformance.Namespace, env core.Env) (core.Agent, error) {
			return open(ns, env, server.Address, nil)
		},
		OpenFaulty: func(_ context.Context, ns conformance.Namespace, env core.Env, gate conformance.Gate) (core.Agent, error) {
			env.Patience.Retry = time.Nanosecond // each fault is to be seen, not only those that stay
			return open(ns, env, server.Address, func(fsys filetree.FS) filetree.FS { return conformance.Gated(fsys, gate) })
		},
		Raw:     dir,
		Modes:   dir.Modes,
		Secrets: []string{string(key)},
		Wire: &conformance.Wire{
			Server: server.Address, Opaque: true,
			Open: func(_ context.Context, ns conformance.Namespace, env core.Env, address string) (core.Agent, error) {
				return open(ns, env, address, nil)
			},
		},
		Crash: func(task string) *exec.Cmd {
			where, err := json.Marshal(server)
			if err != nil {
				panic(err)
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), suiteTask+"="+task, suiteServer+"="+string(where))
			return cmd
		},
		Limits: conformance.Limits{PartSize: smallPart, InFlight: 2 * smallPool},
	}
}

func child(ctx context.Context) error {
	server := new(emulator.SFTP)
	if err := json.Unmarshal([]byte(os.Getenv(suiteServer)), server); err != nil {
		return err
	}
	return conformance.Child(ctx, target(nil, server), os.Getenv(suiteTask), os.Stdout)
}

// Parts and connections are so few that the suite's archives have several parts.
const (
	smallPart = 1 << 20
	smallPool = 2
)

// configured is a configuration for a folder of a server, over one of its addresses.
func configured(server *emulator.SFTP, address, dir string) *Config {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		panic(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		panic(err)
	}
	return &Config{
		Host: host, Port: number, User: server.User, Dir: filepath.Join(server.Dir, dir),
		KeyFile: server.Key, HostKey: server.HostKey, PartSize: smallPart, Connections: smallPool,
	}
}

// inSmallParts is the agent as Config.Open makes it, over a directory that is wrapped.
func inSmallParts(c *Config, env core.Env, wrap func(filetree.FS) filetree.FS) (core.Agent, error) {
	if wrap == nil {
		return c.Open(context.Background(), env)
	}
	t, err := newTree(*c, env)
	if err != nil {
		return nil, err
	}
	return object.New(object.Retry(newStore(wrap(t), c, env), env), env), nil
}
