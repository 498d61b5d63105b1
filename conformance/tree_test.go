package conformance

import (
	"os"
	"sync"
	"testing"
)

// A list of a directory in which files come and go is one without an error.
func TestDirectoryOfOthers(t *testing.T) {
	d := Directory(t.TempDir())
	if err := d.Put(t.Context(), "app", "data/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	var other sync.WaitGroup
	listed := make(chan struct{})
	other.Go(func() {
		for {
			select {
			case <-listed:
				return
			default:
			}
			if err := os.WriteFile(d.file("app", "data/y"), nil, 0o600); err != nil {
				t.Error(err)
				return
			}
			if err := d.Delete(t.Context(), "app", "data/y"); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 2000 {
		keys, err := d.List(t.Context(), "app")
		if err != nil || len(keys) == 0 {
			t.Errorf("%q, %v", keys, err)
			break
		}
	}
	close(listed)
	other.Wait()
}
