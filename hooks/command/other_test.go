//go:build !linux && !darwin

package command_test

import (
	"errors"
	"testing"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/hooks/command"
)

func TestUnsupported(t *testing.T) {
	_, err := command.Kind{}.Hook("h", &command.Options{Pre: []string{"a"}}, nil)
	if !errors.Is(err, core.ErrUnsupported) || !errors.Is(command.End(t.Context(), core.Process{}), core.ErrUnsupported) {
		t.Error(err)
	}
}
