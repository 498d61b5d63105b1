package cli

import (
	"log/slog"
	"path/filepath"
	"runtime"

	"github.com/offsite-backup/offsite/core"
)

func (a *app) agentEnv() core.Env {
	env := core.Env{Now: a.now, StateDir: absolute(a.stateDir()), Log: a.log()}
	if env.StateDir != "" {
		env.CacheDir = filepath.Join(env.StateDir, "cache")
	}
	return env
}

// absolute is a path that another process understands too, or "" for "".
func absolute(path string) string {
	if path == "" {
		return ""
	}
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// hasState answers an error where commands that must remember something cannot.
func (a *app) hasState() error {
	if a.stateDir() == "" {
		return usagef("no folder for what is owed between runs: there is no home, so give --state")
	}
	return nil
}

// stateDir is the folder for what is owed between runs, "" where nothing says
// which.
func (a *app) stateDir() string {
	home, err := a.home()
	switch {
	case a.state != "":
		return a.state
	case filepath.IsAbs(a.env["XDG_STATE_HOME"]):
		return filepath.Join(a.env["XDG_STATE_HOME"], "offsite")
	case a.uid == 0:
		return "/var/lib/offsite"
	case err != nil:
		return ""
	case runtime.GOOS == "windows":
		return filepath.Join(home, "AppData", "Local", "offsite")
	}
	return filepath.Join(home, ".local", "state", "offsite")
}

// log is where agents say what is no result and no error.
func (a *app) log() *slog.Logger {
	level := slog.LevelWarn
	switch {
	case a.quiet:
		level = slog.LevelError
	case a.verbose:
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.console, &slog.HandlerOptions{Level: level, ReplaceAttr: noTime}))
}

// noTime leaves the time out: whoever collects standard error adds it.
func noTime(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) == 0 && attr.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return attr
}
