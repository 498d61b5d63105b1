package sftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/disk"
	"github.com/offsite-backup/offsite/core/object"
)

var _ object.Explainer = (*tree)(nil)

// Right is the permission that the user at the server lacks, and where.
func (t *tree) Right(err error) string {
	var at *fs.PathError
	if !errors.As(err, &at) {
		return ""
	}
	switch at.Op {
	case "lstat", "stat":
		return "search permission in " + path.Dir(at.Path)
	case "open", "read", "readdir":
		return "read permission of " + at.Path
	case "write", "truncate":
		return "write permission of " + at.Path
	}
	return "write permission in " + path.Dir(at.Path)
}

// Settings looks at the key of the server, at what it can, at the room, and at who else
// may write there.
func (t *tree) Settings(ctx context.Context) (found []core.Finding, err error) {
	err = t.on(ctx, "look at", ".", func(c *conn) error {
		info, err := c.files.Stat(t.dir)
		if err != nil {
			return err
		}
		found = append(found, core.Finding{What: "host key", Verdict: core.VerdictOK, Why: c.key}, t.durable(c), t.open(info.Mode()))
		if _, ok := c.files.HasExtension("statvfs@openssh.com"); !ok {
			return nil
		}
		room, err := c.files.StatVFS(t.dir)
		if err == nil {
			found = append(found, disk.Space{Size: int64(room.Blocks * room.Frsize), Free: int64(room.Bavail * room.Frsize)}.Finding())
		}
		return err
	})
	return found, err
}

// durable says whether the server syncs.
func (t *tree) durable(c *conn) core.Finding {
	f := core.Finding{What: "sync", Verdict: core.VerdictOK}
	if _, ok := c.files.HasExtension("fsync@openssh.com"); !ok {
		f.Verdict = core.VerdictNote
		f.Why = "the server cannot sync (fsync@openssh.com): what it stored last may be lost when its power fails"
		f.Do = "verify what is new after such a night"
	}
	return f
}

// open says whether others at the server may remove or replace what lies in a directory
// of a mode.
func (t *tree) open(mode fs.FileMode) core.Finding {
	f := core.Finding{What: "permissions", Verdict: core.VerdictOK}
	if mode.Perm()&0o022 != 0 && mode&fs.ModeSticky == 0 {
		f.Verdict = core.VerdictWarning
		f.Why = fmt.Sprintf("%s has mode %04o: others may remove or replace what lies in it", t.dir, mode.Perm())
		f.Do = "chmod go-w it"
	}
	return f
}
