package emulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"
)

// minioVersion is the one that make builds.
const minioVersion = "v0.0.0-20260212201848-7aac2a2c5b7c"

// A MinIO is a server of S3.
type MinIO struct {
	URL string      // http://127.0.0.1:port
	Key Credentials // of its root user

	process *os.Process
	ended   chan struct{} // closed when the process has ended
	said    bytes.Buffer  // by the process; read after ended
}

// Region is what the server takes for its own.
const Region = "us-east-1"

// StartMinIO starts a server that keeps its data in dir, which is there, and
// returns when it answers. env are variables of its own, such as
// MINIO_KMS_SECRET_KEY. The caller stops it; where the system can, it ends with
// this process too. ErrMissing says that it has to be built first.
func StartMinIO(ctx context.Context, dir string, env ...string) (*MinIO, error) {
	program, err := tool("minio", minioVersion)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	m := &MinIO{URL: "http://" + address, Key: Credentials{ID: "offsite", Secret: "offsite-secret-key"}, ended: make(chan struct{})}
	cmd := exec.Command(program, "server", "--quiet", "--address", address, "--certs-dir", dir+"/.certs", dir)
	cmd.Env = append([]string{
		"HOME=" + dir, "TMPDIR=" + os.TempDir(), "MINIO_BROWSER=off", "MINIO_UPDATE=off",
		"MINIO_ROOT_USER=" + m.Key.ID, "MINIO_ROOT_PASSWORD=" + m.Key.Secret,
	}, env...)
	cmd.Stdout, cmd.Stderr = &m.said, &m.said
	if err := m.run(cmd); err != nil {
		return nil, fmt.Errorf("minio: %w", err)
	}
	if err := m.ready(ctx); err != nil {
		m.Stop()
		return nil, fmt.Errorf("minio: %w: %s", err, bytes.TrimSpace(m.said.Bytes()))
	}
	return m, nil
}

// run starts the process on a thread that stays as long, because a process that is
// to end with its parent ends with the thread that started it.
func (m *MinIO) run(cmd *exec.Cmd) error {
	endWithParent(cmd)
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		m.process = cmd.Process
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is killed
			close(m.ended)
		}
	}()
	return <-started
}

// Stop kills the server, which keeps its data. Twice is fine.
func (m *MinIO) Stop() {
	_ = m.process.Kill() // it may have ended
	<-m.ended
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// ready asks until the server answers well. It says that it is ready before it is
// for requests that are signed.
func (m *MinIO) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, healthy := m.ask(ctx, "s3", http.MethodGet, "/minio/health/ready", nil, http.Header{}, nil)
		_, signed := m.ask(ctx, "s3", http.MethodGet, "/", nil, http.Header{}, nil)
		if healthy == nil && signed == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-m.ended:
			return errors.New("it ended by itself")
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), errors.Join(healthy, signed))
		}
	}
}

// Shared is a server for several tests of one package, started with the first that
// asks. TestMain stops it.
type Shared struct {
	once sync.Once
	dir  string
	m    *MinIO
	err  error
}

// Get is the server. Where its program is missing, the test is skipped, or fails on
// a machine that is to have everything (CI=true).
func (s *Shared) Get(tb testing.TB) *MinIO {
	tb.Helper()
	s.once.Do(func() {
		if s.dir, s.err = dataDir(); s.err == nil {
			s.m, s.err = StartMinIO(context.Background(), s.dir)
		}
	})
	must(tb, s.err)
	return s.m
}

// Stop stops the server, where it was started, and removes its data.
func (s *Shared) Stop() {
	if s.m != nil {
		s.m.Stop()
	}
	_ = os.RemoveAll(s.dir) // what stays is a temporary folder
}

// Start is StartMinIO for one test alone.
func Start(tb testing.TB, env ...string) *MinIO {
	tb.Helper()
	dir, err := dataDir()
	must(tb, err)
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return StartIn(tb, dir, env...)
}

// StartIn is Start with a folder that the test chose.
func StartIn(tb testing.TB, dir string, env ...string) *MinIO {
	tb.Helper()
	m, err := StartMinIO(tb.Context(), dir, env...)
	must(tb, err)
	tb.Cleanup(m.Stop)
	return m
}

// dataDir makes a folder in memory, where there is a place for that: a server syncs
// each object, which on a disk is most of what tests would wait for.
func dataDir() (string, error) {
	if dir, err := os.MkdirTemp("/dev/shm", "offsite-minio-"); err == nil {
		return dir, nil
	}
	return os.MkdirTemp("", "offsite-minio-")
}

func must(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrMissing) && os.Getenv("CI") != "true":
		tb.Skip(err)
	default:
		tb.Fatal(err)
	}
}
