package platform

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// TestSpool reads behind the writer: what is not written yet is waited for, what
// is sealed has an end.
func TestSpool(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := newSpool(filepath.Join(dir, "archive"), core.Backup{ID: "a"})
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		read := make(chan error, 1)
		go func() {
			_, err := io.Copy(&got, core.NewReader(t.Context(), s))
			read <- err
		}()
		synctest.Wait()
		s.Write([]byte("first "))
		synctest.Wait()
		select {
		case err := <-read:
			t.Fatalf("the reader ended before the writer: %v", err)
		default:
		}
		ctx, leave := context.WithCancelCause(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := s.Reader(ctx).ReadAt(make([]byte, 1), 100)
			left <- err
		}()
		synctest.Wait()
		reason := errors.New("dropped")
		leave(reason)
		if err := <-left; !errors.Is(err, reason) {
			t.Errorf("a reader that leaves: %v", err)
		}
		s.Write([]byte("second"))
		b := s.seal(core.Backup{ID: "a"})
		if err := <-read; err != nil || got.String() != "first second" {
			t.Errorf("read %q, %v", got.String(), err)
		}
		early, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := s.Backup(early); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("metadata before it is given: %v", err)
		}
		s.give()
		if sealed, err := s.Backup(t.Context()); err != nil || sealed.Size != 12 || sealed.SHA256 != b.SHA256 {
			t.Errorf("sealed %+v, %v", sealed, err)
		}
		if s.fail(reason) {
			t.Error("a whole archive failed")
		}
		if n, err := s.Reader(t.Context()).ReadAt(make([]byte, 10), 6); n != 6 || err != io.EOF {
			t.Errorf("across the end: %d, %v", n, err)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "archive")); err == nil {
			t.Error("the spool is left")
		}
	})
}

func TestSpoolFails(t *testing.T) {
	s, err := newSpool(filepath.Join(t.TempDir(), "archive"), core.Backup{ID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.Write([]byte("half"))
	reason := errors.New("the disk is on fire")
	if !s.fail(reason) || s.fail(errors.New("another")) {
		t.Error("who ended it is not known")
	}
	if _, err := s.Reader(t.Context()).ReadAt(make([]byte, 2), 0); !errors.Is(err, reason) {
		t.Errorf("read: %v", err)
	}
	if _, err := s.Backup(t.Context()); !errors.Is(err, reason) {
		t.Errorf("backup: %v", err)
	}
}
