package platform

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/core"
)

// unfinished begins an upload of a file that one of two agents does not take yet,
// and makes that agent whole again.
func unfinished(t *testing.T, w *world, o UploadOptions) core.ID {
	t.Helper()
	whole := w.Agents[1]
	w.Agents[1] = &broken{Agent: whole, upload: func(context.Context, core.Source) error { return core.Errorf(core.ErrUnavailable, "down") }}
	report, err := w.Upload(t.Context(), w.at("source/big"), o)
	if !errors.Is(err, core.ErrUnavailable) {
		t.Fatal(err)
	}
	w.Agents[1] = whole
	return report.Backup.ID
}

// TestUploadKeepsMetadata goes on with other options: the metadata is the same at
// both agents.
func TestUploadKeepsMetadata(t *testing.T) {
	w := newWorld(t)
	w.Origin.Host = "before"
	id := unfinished(t, w, UploadOptions{Job: "web", Label: "first", Tags: core.Tags{"k": "v"}})
	w.Origin.Host = "after"
	report, err := w.Upload(t.Context(), w.at("source/big"), UploadOptions{Label: "second"})
	if err != nil || report.Backup.ID != id {
		t.Fatalf("%s is not %s: %v", report.Backup.ID, id, err)
	}
	for _, a := range w.Agents {
		b, err := a.Get(t.Context(), id)
		if err != nil || b.Job != "web" || b.Name != "first" || b.Tags["k"] != "v" || b.Origin.Host != "before" {
			t.Errorf("%s has %+v, %v", a.Name(), b, err)
		}
	}
}

// TestUploadKeepsRecord goes on with an upload after a try that asked no agent.
func TestUploadKeepsRecord(t *testing.T) {
	w := newWorld(t)
	id := unfinished(t, w, UploadOptions{})
	file := w.at("source/big")
	u := &fileUpload{Platform: w.Platform, path: file}
	same, err := identify(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.take(t.Context(), same); err != nil || u.entry.ID != id {
		t.Fatalf("took %+v, %v", u.entry, err)
	}
	if err := u.settle(); err != nil { // no agent was asked
		t.Fatal(err)
	}
	if report, err := w.Upload(t.Context(), file, UploadOptions{}); err != nil || report.Backup.ID != id {
		t.Errorf("%s is not %s: %v", report.Backup.ID, id, err)
	}
	if _, err := w.Upload(t.Context(), file, UploadOptions{Tags: core.Tags{"k": "\xff"}}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a bad tag: %v", err)
	}
	if names := left(t, w.at("state")); len(names) > 0 {
		t.Errorf("a new record of which no agent was asked is left: %v", names)
	}
}

// TestUploadTakesItsRecord goes on with an upload while another command clears up.
func TestUploadTakesItsRecord(t *testing.T) {
	w := newWorld(t)
	id := unfinished(t, w, UploadOptions{})
	if over, _, err := (&state{w.at("state")}).dead(time.Now(), none); err != nil || len(over) > 0 {
		t.Fatalf("an unfinished upload is over: %v, %v", over, err)
	}
	if report, err := w.Upload(t.Context(), w.at("source/big"), UploadOptions{}); err != nil || report.Backup.ID != id {
		t.Errorf("%s is not %s: %v", report.Backup.ID, id, err)
	}
}

// TestUploadLeftoverIsNamed while an agent that has the file by now cannot be swept.
func TestUploadLeftoverIsNamed(t *testing.T) {
	w := newWorld(t)
	agent := &messy{&down{w.Agents[1], true}, true}
	w.Agents[1] = agent
	file := filepath.Join(w.source, "big")
	first, err := w.Upload(t.Context(), file, UploadOptions{Copies: 1})
	if err != nil {
		t.Fatal(err)
	}
	agent.away = false
	half := w.at("two/tmp/data," + string(first.Backup.ID) + ".0123456789abcdef.partial")
	write(t, half, "half of it")
	if second, err := w.Upload(t.Context(), file, UploadOptions{}); err != nil || second.Backup.ID != first.Backup.ID {
		t.Fatalf("%+v, %v", second.Result, err)
	}
	agent.messy = false
	if r, err := w.Recover(t.Context()); err != nil || !r.Done() {
		t.Errorf("%+v, %v", r, err)
	}
	if names := append(left(t, w.at("state")), left(t, w.at("two"))...); len(names) > 0 {
		t.Errorf("left: %q", names)
	}
	if third, err := w.Upload(t.Context(), file, UploadOptions{}); err != nil || third.Backup.ID == first.Backup.ID {
		t.Errorf("a finished upload was gone on with: %v", err)
	}
}
