package reference

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/offsite-backup/offsite/conformance"
)

// The environment of a child that is to be killed.
const (
	childTask  = "OFFSITE_REFERENCE_TASK"
	childPlace = "OFFSITE_REFERENCE_PLACE"
)

func TestMain(m *testing.M) {
	if task := os.Getenv(childTask); task != "" {
		if err := child(task); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func child(task string) error {
	c, err := Dial(os.Getenv(childPlace))
	if err != nil {
		return err
	}
	return conformance.Child(context.Background(), c.Target(), task, os.Stdout)
}

// served is a place whose target has everything.
func served(t testing.TB, ask transport) conformance.Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(ask, l) }()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	target := target(ask)
	target.Crash = func(task string) *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childTask+"="+task, childPlace+"="+l.Addr().String())
		return cmd
	}
	return target
}

func TestReference(t *testing.T) {
	conformance.Run(t, served(t, new(Place).do))
}
