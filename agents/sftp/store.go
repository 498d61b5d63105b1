package sftp

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
)

// A tree is the directory as a filetree.FS.
type tree struct {
	dir    string // at the server
	pool   *pool
	chance io.Reader
	log    *slog.Logger

	mu     sync.Mutex
	dirs   map[string]time.Time // when they were seen to be no links
	said   map[string]bool      // what was said once
	synced bool                 // whether a directory was

	linkless bool // whether the server was found to have no hard links
}

var _ filetree.FS = (*tree)(nil)

func newTree(c Config, env core.Env) (*tree, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	env = env.WithDefaults()
	credentials, err := c.credentials()
	if err != nil {
		return nil, core.Errorf(core.ErrInvalid, "%s: %w", c.Place(), err)
	}
	hosts, err := c.hosts()
	if err != nil {
		return nil, core.Errorf(core.ErrInvalid, "%s: %w", c.Place(), err)
	}
	d := &dialer{address: c.address(), user: c.User, credentials: credentials, hosts: hosts, env: env}
	log := env.Log.With("agent", env.Name)
	return &tree{
		dir: c.dir(), chance: env.Chance, log: log,
		pool: newPool(c.connections(), log, d.dial),
		dirs: map[string]time.Time{}, said: map[string]bool{},
	}, nil
}

// path is a name as the server takes it.
func (t *tree) path(name string) string { return path.Join(t.dir, name) }

// on runs one operation on a name. Its error says which.
func (t *tree) on(ctx context.Context, what, name string, f func(*conn) error) error {
	c, err := t.pool.get(ctx, false)
	if err != nil {
		return err
	}
	defer t.pool.put(c)
	return t.named(what, name, c.do(ctx, func() error {
		if err := t.noLinks(c, name); err != nil {
			return err
		}
		return f(c)
	}))
}

// named says what an error is about.
func (t *tree) named(what, name string, err error) error {
	if err == nil || core.KindOf(err) != "" {
		return err
	}
	return &fs.PathError{Op: what, Path: t.path(name), Err: err}
}

// noLinksFor is how long a directory that was no link is taken for none: one that
// becomes one in between two operations is not seen anyway, and each look is a round
// trip.
const noLinksFor = 30 * time.Second

// noLinks refuses a name whose directories are links: objects would be found where
// none were put.
func (t *tree) noLinks(c *conn, name string) error {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if t.seenDir(dir) {
			continue
		}
		info, err := c.files.Lstat(t.path(dir))
		switch {
		case err != nil: // also that it is not there, which the operation would say too
			return err
		case info.Mode()&fs.ModeSymlink != 0:
			return core.Errorf(core.ErrUnsupported, "%s is a link, and links are not followed", t.path(dir))
		}
		t.mu.Lock()
		t.dirs[dir] = time.Now()
		t.mu.Unlock()
	}
	return nil
}

func (t *tree) seenDir(dir string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Since(t.dirs[dir]) < noLinksFor
}

// once says something of the server one time.
func (t *tree) once(text string, args ...any) {
	t.mu.Lock()
	first := !t.said[text]
	t.said[text] = true
	t.mu.Unlock()
	if first {
		t.log.Warn(text, args...)
	}
}

func (t *tree) OpenFile(ctx context.Context, name string, flag int) (filetree.File, error) {
	c, err := t.pool.get(ctx, true)
	if err != nil {
		return nil, err
	}
	f := &file{tree: t, conn: c, ctx: ctx, name: name}
	err = c.do(ctx, func() error {
		if err := t.noLinks(c, name); err != nil {
			return err
		}
		return f.open(flag)
	})
	if err != nil {
		t.pool.put(c)
		what := map[int]string{os.O_RDONLY: "open", os.O_WRONLY: "write"}[flag]
		return nil, t.named(cmp.Or(what, "create"), name, err)
	}
	return f, nil
}

// chmod keeps others out of what was just made and is empty.
func (t *tree) chmod(err error) error {
	if answered(err) {
		t.once("the server does not let us set who may read what is stored", "error", err)
		return nil
	}
	return err
}

func (t *tree) Lstat(ctx context.Context, name string) (info fs.FileInfo, err error) {
	err = t.on(ctx, "lstat", name, func(c *conn) (err error) {
		if name != "." {
			info, err = c.files.Lstat(t.path(name))
			return err
		}
		// The place may be a link. A file there is none: nothing could be in it.
		if info, err = c.files.Stat(t.dir); err == nil && !info.IsDir() {
			err = fmt.Errorf("it is no directory: %w", fs.ErrNotExist)
		}
		return err
	})
	return info, err
}

func (t *tree) ReadDir(ctx context.Context, name string) (infos []fs.FileInfo, err error) {
	err = t.on(ctx, "readdir", name+"/.", func(c *conn) error {
		infos, err = c.files.ReadDirContext(ctx, t.path(name))
		return err
	})
	return infos, err
}

func (t *tree) Mkdir(ctx context.Context, name string) error {
	if name == "." {
		return t.make(ctx, t.dir)
	}
	return t.on(ctx, "mkdir", name, func(c *conn) error { return t.mkdir(c, t.path(name)) })
}

func (t *tree) mkdir(c *conn, dir string) error {
	if err := c.files.Mkdir(dir); err != nil {
		return t.failure(c, err, dir)
	}
	return t.chmod(c.files.Chmod(dir, 0o700))
}

// make makes the place and what is missing above it, and syncs each directory that
// something new is in.
func (t *tree) make(ctx context.Context, dir string) error {
	above := path.Dir(dir)
	mkdir := func() error {
		return t.on(ctx, "mkdir", ".", func(c *conn) error { return t.mkdir(c, dir) })
	}
	err := mkdir()
	if errors.Is(err, fs.ErrNotExist) && above != dir {
		if err := t.make(ctx, above); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		err = mkdir()
	}
	if err != nil {
		return err
	}
	return t.on(ctx, "sync", ".", func(c *conn) error { return t.syncDir(c, above) })
}

func (t *tree) Remove(ctx context.Context, name string) error {
	return t.on(ctx, "remove", name, func(c *conn) error { return c.files.Remove(t.path(name)) })
}

// Prepare makes the connections that are still missing.
func (t *tree) Prepare() { t.pool.fill() }

func (t *tree) Rename(ctx context.Context, from, to string) error {
	return t.on(ctx, "rename", from, func(c *conn) error {
		return t.failure(c, c.files.Rename(t.path(from), t.path(to)), "")
	})
}

func (t *tree) SyncDir(ctx context.Context, name string) error {
	return t.on(ctx, "sync", name+"/.", func(c *conn) error { return t.syncDir(c, t.path(name)) })
}

// syncDir syncs a directory, which is opened like a file for that. That servers and
// file systems do not offer it they say by "Failure" or by denying it, so it has to
// succeed only where it did before.
func (t *tree) syncDir(c *conn, dir string) error {
	if !t.canSync(c) {
		return nil
	}
	d, err := c.files.Open(dir)
	if err == nil {
		err = d.Sync()
		c.later(d.Close)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.synced = true
	}
	if answered(err) && !t.synced {
		return nil
	}
	return err
}

// canSync says whether the server syncs, and if not, says so to people once.
func (t *tree) canSync(c *conn) bool {
	if _, ok := c.files.HasExtension("fsync@openssh.com"); ok {
		return true
	}
	t.once("the server cannot sync (fsync@openssh.com): what it stored last may be lost when its power fails")
	return false
}

// Close ends the connections.
func (t *tree) Close() error {
	t.pool.close()
	return nil
}

// token is a word for a scratch file.
func (t *tree) token() (string, error) {
	var raw [8]byte
	_, err := io.ReadFull(t.chance, raw[:])
	return hex.EncodeToString(raw[:]), err
}
