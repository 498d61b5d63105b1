package emulator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"testing"
)

// minioVersion is the one that make builds.
const minioVersion = "v0.0.0-20260212201848-7aac2a2c5b7c"

// A MinIO is a server of S3.
type MinIO struct {
	URL string      // http://127.0.0.1:port
	Key Credentials // of its root user

	*process
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
	m := &MinIO{URL: "http://" + address, Key: Credentials{ID: "offsite", Secret: "offsite-secret-key"}}
	cmd := exec.Command(program, "server", "--quiet", "--address", address, "--certs-dir", dir+"/.certs", dir)
	cmd.Env = append([]string{
		"HOME=" + dir, "TMPDIR=" + os.TempDir(), "MINIO_BROWSER=off", "MINIO_UPDATE=off",
		"MINIO_ROOT_USER=" + m.Key.ID, "MINIO_ROOT_PASSWORD=" + m.Key.Secret,
	}, env...)
	if m.process, err = start(ctx, cmd, m.ready); err != nil {
		return nil, fmt.Errorf("minio: %w", err)
	}
	return m, nil
}

// ready asks for more than whether the server says that it is ready: it does so before
// it is for requests that are signed.
func (m *MinIO) ready(ctx context.Context) error {
	_, healthy := m.ask(ctx, "s3", http.MethodGet, "/minio/health/ready", nil, http.Header{}, nil)
	_, signed := m.ask(ctx, "s3", http.MethodGet, "/", nil, http.Header{}, nil)
	return errors.Join(healthy, signed)
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
