package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/offsite-backup/offsite/core"
)

const name = "offsite.yaml"

// Find returns the path of the configuration: given, which need not be there, or
// the first that is there of ./offsite.yaml, $XDG_CONFIG_HOME/offsite/offsite.yaml
// (~/.config where that is not set) and /etc/offsite/offsite.yaml. It answers
// core.ErrInvalid where there is none. home may be "".
func Find(given string, env map[string]string, home string) (string, error) {
	if given != "" {
		return given, nil
	}
	places := []string{name}
	if dir := env["XDG_CONFIG_HOME"]; filepath.IsAbs(dir) {
		places = append(places, filepath.Join(dir, "offsite", name))
	} else if home != "" {
		places = append(places, filepath.Join(home, ".config", "offsite", name))
	}
	return first(append(places, "/etc/offsite/"+name))
}

// first is the first place where something is. What is there and cannot be read is
// an error later: another file would not be what was meant.
func first(places []string) (string, error) {
	text := "no configuration: there is none of"
	for i, p := range places {
		if _, err := os.Lstat(p); !errors.Is(err, fs.ErrNotExist) {
			return p, nil
		}
		if i > 0 {
			text += ","
		}
		text += " " + p
	}
	return "", core.Errorf(core.ErrInvalid, "%s; `offsite init` writes one, and --config names another", text)
}

// Load reads the configuration at path as Parse does. A file that another may write
// could make this program run anything, and is refused; uid is the user's, -1
// where there is none.
func (ks Kinds) Load(path string, uid int) (*File, error) {
	data, info, err := readFile(path, maxFile)
	if err == nil {
		err = trusted(path, info, uid)
	}
	if err != nil {
		return nil, Errors{{File: path, Text: err.Error()}}
	}
	return ks.Parse(path, data)
}

func trusted(path string, info fs.FileInfo, uid int) error {
	if unsafe := writable(info); unsafe != "" {
		return fmt.Errorf("%s, and with it what runs here: `chmod go-w %s`", unsafe, path)
	}
	if owner := ownerOf(info); uid >= 0 && owner > 0 && owner != uid {
		return fmt.Errorf("belongs to the user %d, who may write what runs here as user %d: `chown` it", owner, uid)
	}
	return nil
}

// writable says that others than the owner may write a file, or "".
func writable(info fs.FileInfo) string {
	if info.Mode().Perm()&ownersOnly&0o022 == 0 {
		return ""
	}
	return fmt.Sprintf("others than its owner may write it (mode %s)", modeOf(info))
}

// readable says whether anybody may read a file.
func readable(info fs.FileInfo) bool { return info.Mode().Perm()&ownersOnly&0o004 != 0 }

// readFile reads a regular file of at most so many bytes. What it says of one that
// it does not read leaves the path out.
func readFile(path string, most int64) ([]byte, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|noWait, 0)
	if err != nil {
		return nil, nil, bare(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, nil, bare(err)
	case !info.Mode().IsRegular():
		return nil, nil, errors.New("is no regular file")
	case info.Size() > most:
		return nil, nil, fmt.Errorf("has more than %d KiB", most>>10)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("has more than %d KiB", most>>10)
	}
	return data, info, bare(err)
}

// bare is an error without the path, which is said before it.
func bare(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
