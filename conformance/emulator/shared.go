package emulator

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
)

// A Server is one of this package.
type Server interface {
	comparable
	Stop()
}

// Shared is a server for several tests of one package, started with the first that
// asks. TestMain stops it.
type Shared[S Server] struct {
	Start func(ctx context.Context, dir string, env ...string) (S, error) // such as StartMinIO

	once   sync.Once
	dir    string
	server S
	err    error
}

// Get is the server. Where its program is missing, the test is skipped, or fails on
// a machine that is to have everything (CI=true).
func (s *Shared[S]) Get(tb testing.TB) S {
	tb.Helper()
	s.once.Do(func() {
		if s.dir, s.err = dataDir(); s.err == nil {
			s.server, s.err = s.Start(context.Background(), s.dir)
		}
	})
	must(tb, s.err)
	return s.server
}

// Stop stops the server, where it was started, and removes its data.
func (s *Shared[S]) Stop() {
	if none := *new(S); s.server != none {
		s.server.Stop()
	}
	_ = os.RemoveAll(s.dir) // what stays is a temporary folder
}

// dataDir makes a folder in memory, where there is a place for that: a server syncs
// each object, which on a disk is most of what tests would wait for.
func dataDir() (string, error) {
	if dir, err := os.MkdirTemp("/dev/shm", "offsite-server-"); err == nil {
		return dir, nil
	}
	return os.MkdirTemp("", "offsite-server-")
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
