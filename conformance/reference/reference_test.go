package reference

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
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
	return conformance.Child(context.Background(), At(os.Getenv(childPlace)), task, os.Stdout)
}

// served is a place whose target has everything. Who comes over the network asks
// it by ask.
func served(t testing.TB, place *Place, ask roundTrip) conformance.Target {
	t.Helper()
	address := listening(t, ask)
	target := place.Target()
	target.Wire = wire(address)
	target.Crash = func(task string) *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childTask+"="+task, childPlace+"="+address)
		return cmd
	}
	return target
}

// listening serves a place until the test ends, and returns its address.
func listening(t testing.TB, ask roundTrip) string {
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
	return l.Addr().String()
}

func TestReference(t *testing.T) {
	place := new(Place)
	conformance.Run(t, served(t, place, place.do))
}

// TestOverHTTP runs the short cases again with the place at the other end of a
// network, but for those that have it there already.
func TestOverHTTP(t *testing.T) {
	place := new(Place)
	target := served(t, place, place.do)
	far := At(listening(t, place.do))
	target.Open, target.OpenFaulty, target.Short = far.Open, far.OpenFaulty, true
	target.Select = func(c conformance.Case) bool { return !slices.Contains(c.Needs, conformance.MeansWire) }
	conformance.Run(t, target)
}
