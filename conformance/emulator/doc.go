// Package emulator starts the real servers that agents are proven on, each a plain
// process on loopback that keeps its data in a folder of the caller, and speaks to
// them with another client than the agents'.
//
// The programs are built by `make test`, each under its name and version in
// ${XDG_CACHE_HOME:-$HOME/.cache}/offsite-tools.
package emulator

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrMissing says that a server's program is not on this machine.
var ErrMissing = errors.New("not built: make tools")

// tool is where the program of a server lies.
func tool(name, version string) (string, error) {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, ".cache")
	}
	path := filepath.Join(cache, "offsite-tools", name+"-"+version)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s: %w", path, ErrMissing)
	}
	return path, nil
}
