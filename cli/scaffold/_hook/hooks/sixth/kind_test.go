package sixth_test

import (
	"errors"
	"testing"

	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/hooks/sixth"
)

var _ config.HookKind = sixth.Kind{}

// Options that make no hook are refused before anything runs.
func TestInvalid(t *testing.T) {
	for what, options := range map[string]any{
		"nothing":       nil,
		"those of none": new(string),
		"no target":     new(sixth.Options),
	} {
		if _, err := (sixth.Kind{}).Hook("h", options, nil); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A backup is made between pre and post, and post bears to run twice.
func TestActions(t *testing.T) {
	hook, err := sixth.Kind{}.Hook("h", &sixth.Options{Target: "target"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := core.Moment{ID: "id", Job: "job", Phase: core.Pre, Dir: t.TempDir()}
	if err := hook.Pre(t.Context(), m); err != nil {
		t.Errorf("pre: %v", err)
	}
	for range 2 {
		m.Phase = core.Post
		if err := hook.Post(t.Context(), m); err != nil {
			t.Errorf("post: %v", err)
		}
	}
}
