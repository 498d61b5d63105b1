package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/offsite-backup/offsite/core"
)

// loud makes hooks that warn where a run goes on without them, when an optional pre
// fails: the report says that it failed, but not why.
func (a *app) loud(part string, hooks []core.Hook) []core.Hook {
	for i, h := range hooks {
		if pre := h.Pre; pre != nil && h.Optional {
			hooks[i].Pre = func(ctx context.Context, m core.Moment) error {
				err := pre(ctx, m)
				if err != nil {
					a.warnAll(part, fmt.Errorf("hook %s: pre: %w", h.Name, err))
				}
				return err
			}
		}
	}
	return hooks
}

// warnAll is warn, with a line for each of an error.
func (a *app) warnAll(part string, err error) {
	for line := range strings.Lines(err.Error()) {
		a.warn(part + "warning: " + strings.TrimRight(line, "\n"))
	}
}
