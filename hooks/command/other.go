//go:build !linux && !darwin

package command

import (
	"context"

	"github.com/offsite-backup/offsite/core"
)

const supported = false

func (call) do(context.Context) (string, error) { return "", core.ErrUnsupported }

// End answers core.ErrUnsupported: no action of this kind runs on this system.
func End(context.Context, core.Process) error { return core.ErrUnsupported }
