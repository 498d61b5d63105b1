package local

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/filetree"
	"github.com/offsite-backup/offsite/core/object"
)

const name = "local"

// Kind is the agent as a program links it.
func Kind() core.Kind {
	return core.Kind{
		Name:    name,
		Schemes: []string{name, ""},
		Summary: "a directory of this machine: ./dir, /dir, local:/dir",
		Config:  func() core.Config { return new(Config) },
	}
}

// A Config says where backups are kept.
type Config struct {
	// Dir is the directory. A relative one is taken from where the program stands
	// when it is opened.
	Dir string `config:"required,path"`

	// MustExist keeps the directory from being made: where it is not there, like one
	// on a disk that is not mounted, nothing is stored.
	MustExist bool
}

// SetURL takes a word without a scheme, which is the directory as it is, or
// local:/dir or local:dir. There are no options.
func (c *Config) SetURL(u *url.URL) error {
	if u.Scheme == "" {
		c.Dir = u.Path
		return nil
	}
	if u.Host != "" || u.User != nil {
		return core.Errorf(core.ErrInvalid, "%q names a host: a directory is written local:/dir", u.Redacted())
	}
	if u.RawQuery != "" || u.ForceQuery {
		return core.Errorf(core.ErrInvalid, "%q has options, and a directory takes none; a question mark in its name is written %%3F", u.Redacted())
	}
	if u.Fragment != "" {
		return core.Errorf(core.ErrInvalid, "%q: a # in the name of a directory is written %%23", u.Redacted())
	}
	dir, err := url.PathUnescape(u.Opaque)
	if err != nil {
		return core.Errorf(core.ErrInvalid, "%q: %w", u.Redacted(), err)
	}
	c.Dir = filepath.FromSlash(u.Path + dir) // one of them is empty
	return nil
}

// Place is "local:" and the absolute path of the directory, so that one place has
// one name from wherever it is named.
func (c *Config) Place() string { return name + ":" + c.absolute() }

// LocalDir is the directory, absolute: a program leaves it out of what it backs up,
// and reads it before places that are further away.
func (c *Config) LocalDir() string { return c.absolute() }

func (c *Config) absolute() string {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return filepath.Clean(c.Dir) // the program stands in a directory that is gone
	}
	return dir
}

// Open returns the agent. The directory need not be there: the first upload makes
// it, unless MustExist, and until then reading answers core.ErrNoPlace.
func (c *Config) Open(ctx context.Context, env core.Env) (core.Agent, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if env.Name == "" {
		env.Name = c.Place()
	}
	env.CacheDir = "" // reading here is as quick as reading there
	var fsys filetree.FS = tree{c.absolute()}
	if c.MustExist {
		fsys = mounted{tree{c.absolute()}}
	}
	return object.New(newStore(fsys, env), env), nil
}

func (c *Config) check() error {
	switch {
	case c.Dir == "":
		return core.Errorf(core.ErrInvalid, "no directory is given")
	case strings.ContainsRune(c.Dir, 0):
		return core.Errorf(core.ErrInvalid, "%q is no directory", c.Dir)
	case c.Dir == "~" || strings.HasPrefix(c.Dir, "~/"):
		return core.Errorf(core.ErrInvalid, "%q: ~ is not expanded here; write the directory in full, or ./~ for one of that name", c.Dir)
	}
	if info, err := os.Stat(c.Dir); err == nil && !info.IsDir() {
		return core.Errorf(core.ErrInvalid, "%s is no directory", c.Dir)
	}
	return nil
}

// newStore suits a disk: parts that are soon sent again, and as many at once as one
// disk likes.
func newStore(fsys filetree.FS, env core.Env) *filetree.Store {
	return filetree.New(fsys, filetree.Options{
		Limits:   object.Limits{PartSize: 32 << 20, Workers: 2},
		Chance:   env.Chance,
		ReadBack: true,
	})
}
