package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
)

func TestFind(t *testing.T) {
	root := t.TempDir()
	t.Chdir(root)
	home, xdg := filepath.Join(root, "home"), filepath.Join(root, "xdg")
	inHome, inXDG := filepath.Join(home, ".config", "offsite", "offsite.yaml"), filepath.Join(xdg, "offsite", "offsite.yaml")
	find := func(given, xdg, home, want string) {
		t.Helper()
		got, err := config.Find(given, map[string]string{"XDG_CONFIG_HOME": xdg}, home)
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, core.ErrInvalid) {
			t.Errorf("found %q, %v; want %q", got, err, want)
		}
	}
	if _, err := os.Lstat("/etc/offsite/offsite.yaml"); errors.Is(err, os.ErrNotExist) {
		find("", xdg, home, "")
		_, err := config.Find("", map[string]string{"XDG_CONFIG_HOME": xdg}, home)
		if want := "there is none of offsite.yaml, " + inXDG + ", /etc/offsite/offsite.yaml;"; !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
	} else {
		find("", xdg, home, "/etc/offsite/offsite.yaml")
	}
	for _, path := range []string{inHome, inXDG} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	find("", "", home, inHome)
	find("", "xdg", home, inHome) // relative ones are not obeyed
	find("", xdg, home, inXDG)
	if err := os.Symlink("nowhere", "offsite.yaml"); err != nil {
		t.Fatal(err)
	}
	find("", xdg, home, "offsite.yaml") // which cannot be read, and is what was meant
	find("other.yaml", xdg, home, "other.yaml")
}

func TestLoad(t *testing.T) {
	path := write(t, "offsite.yaml", 0o600, "agents: {d: {local: /b}}")
	f, err := kinds().Load(path, os.Geteuid())
	if err != nil || f.Path != path || len(f.Agents) != 1 {
		t.Fatalf("%v, %v", f, err)
	}
	if _, err := kinds().Load(path, -1); err != nil {
		t.Errorf("where users have no number: %v", err)
	}
	path = write(t, "offsite.yaml", 0o600, "agents:\n  d: {locl: /b}")
	if _, err := kinds().Load(path, -1); err == nil || err.Error() != path+":2:7: agents.d.locl: unknown key; is local meant?" {
		t.Errorf("%v", err)
	}
}

func TestLoadFails(t *testing.T) {
	dir := t.TempDir()
	large := write(t, "large.yaml", 0o600, strings.Repeat("#\n", 128<<10+1))
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "no such file or directory",
		dir:                             "is no regular file",
		"/dev/null":                     "is no regular file",
		large:                           "has more than 256 KiB",
	} {
		_, err := kinds().Load(path, -1)
		if err == nil || !errors.Is(err, core.ErrInvalid) || err.Error() != path+": "+want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
