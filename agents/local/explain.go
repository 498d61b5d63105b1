package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/disk"
	"github.com/offsite-backup/offsite/core/object"
)

var _ object.Explainer = tree{}

// Right is the permission that this user lacks, and where.
func (t tree) Right(err error) string {
	var one *fs.PathError
	var two *os.LinkError
	name := ""
	switch {
	case errors.Is(err, syscall.EROFS):
		return "" // nobody has it
	case errors.As(err, &one):
		name = one.Path
	case errors.As(err, &two):
		name = two.New
	default:
		return ""
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(t.dir, name)
	}
	_, there := os.Lstat(name)
	switch {
	case errors.Is(there, fs.ErrPermission):
		return "search permission in " + filepath.Dir(name)
	case there == nil && one != nil && (one.Op == "open" || one.Op == "openat"):
		return "read permission of " + name
	}
	return "write permission in " + filepath.Dir(name)
}

// Settings looks at the room, and at who else may write there.
func (t tree) Settings(context.Context) ([]core.Finding, error) {
	info, err := os.Stat(t.dir)
	if err != nil {
		return nil, err
	}
	space, err := disk.Of(t.dir)
	if err != nil {
		return nil, err
	}
	return []core.Finding{space.Finding(), t.open(info.Mode())}, nil
}

// open says whether others may remove or replace what lies in a directory of a mode.
func (t tree) open(mode fs.FileMode) core.Finding {
	f := core.Finding{What: "permissions", Verdict: core.VerdictOK}
	if runtime.GOOS != "windows" && mode.Perm()&0o022 != 0 && mode&fs.ModeSticky == 0 {
		f.Verdict = core.VerdictWarning
		f.Why = fmt.Sprintf("%s has mode %04o: others may remove or replace what lies in it", t.dir, mode.Perm())
		f.Do = "chmod go-w it"
	}
	return f
}
