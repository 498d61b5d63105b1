package local

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// examined is what the agent of a directory finds. It leaves nothing there.
func examined(t *testing.T, c *Config) map[string]core.Finding {
	t.Helper()
	found := prove.Examined(t, prove.Open(t, c, core.Env{}))
	if left, err := os.ReadDir(filepath.Join(c.Dir, "tmp")); len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	return found
}

// A directory that is there, and one that the first upload would make.
func TestExamine(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	prove.Found(t, examined(t, &Config{Dir: dir}), map[string]string{"space": string(room(t, dir))})
	found := examined(t, &Config{Dir: filepath.Join(dir, "new", "place")})
	prove.Found(t, found, map[string]string{"place": "note", "space": string(room(t, dir))})
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	prove.Found(t, examined(t, &Config{Dir: dir}), map[string]string{"permissions": "warning", "space": string(room(t, dir))})
}

// room is what there is to say of the disk that the tests run on.
func room(t *testing.T, dir string) core.Verdict {
	t.Helper()
	found, err := tree{dir}.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found[0].Verdict
}

// A disk that is not mounted is said, and nothing is made.
func TestExamineMustExist(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "away")
	found := examined(t, &Config{Dir: dir, MustExist: true})
	if f := found["write"]; len(found) != 1 || !errors.Is(f.Err, core.ErrNoPlace) || !strings.Contains(f.Err.Error(), "must_exist") {
		t.Errorf("%+v", found)
	}
	if _, err := os.Lstat(dir); err == nil {
		t.Error("it was made")
	}
}

// Another user's directory: which permission is missing, and where.
func TestExamineDenied(t *testing.T) {
	dir := t.TempDir()
	for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o755} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write := "failed write permission in " + dir
	asNobody(t, func() {
		found := examined(t, &Config{Dir: dir})
		prove.Found(t, found, map[string]string{"write": write, "write parts": write, "space": string(room(t, dir))})
		if f := found["write"]; f.Do != "grant write permission in "+dir {
			t.Errorf("%+v", f)
		}
	})
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		found := examined(t, &Config{Dir: dir})
		if f := found["list"]; f.Right != "read permission of "+filepath.Join(dir, "tmp") {
			t.Errorf("%+v", f)
		}
		if f := found["write"]; f.Right != "search permission in "+filepath.Join(dir, "tmp") {
			t.Errorf("%+v", f)
		}
	})
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		if f := prove.Examined(t, prove.Open(t, &Config{Dir: dir}, core.Env{}))["list"]; f.Right != "read permission of "+dir && !strings.HasPrefix(f.Right, "search permission in "+dir) {
			t.Errorf("%+v", f)
		}
	})
}

// Directories of backups that are another user's, where only that of what is in the
// making is one's own.
func TestExamineDirectories(t *testing.T) {
	for _, theirs := range []string{"data", "meta"} {
		dir := t.TempDir()
		for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o755} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"tmp", "data", "meta"} {
			name = filepath.Join(dir, name)
			if err := os.Mkdir(name, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(name, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		full := filepath.Join(dir, theirs)
		asNobody(t, func() {
			prove.Found(t, examined(t, &Config{Dir: dir}), map[string]string{"space": string(room(t, dir))})
		})
		if err := os.Chmod(full, 0o755); err != nil {
			t.Fatal(err)
		}
		asNobody(t, func() {
			prove.Found(t, examined(t, &Config{Dir: dir}), map[string]string{"write": "failed write permission in " + full, "space": string(room(t, dir))})
		})
		if err := os.Chmod(full, 0o711); err != nil {
			t.Fatal(err)
		}
		asNobody(t, func() {
			found := examined(t, &Config{Dir: dir})
			prove.Found(t, found, map[string]string{"write": "failed write permission in " + full, "list": "failed read permission of " + full, "space": string(room(t, dir))})
		})
		for _, name := range []string{"data", "meta"} {
			if left, err := os.ReadDir(filepath.Join(dir, name)); len(left) > 0 || err != nil {
				t.Errorf("left in %s: %v, %v", name, left, err)
			}
		}
		if err := os.Remove(full); err != nil { // the first upload would make it
			t.Fatal(err)
		}
		asNobody(t, func() {
			prove.Found(t, examined(t, &Config{Dir: dir}), map[string]string{"write": "failed write permission in " + dir, "space": string(room(t, dir))})
		})
	}
}

// tmpfs mounts a small file system.
func tmpfs(t *testing.T, flags uintptr, options string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mounted")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "tmpfs", flags, options); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A disk that is full, and one that is mounted to be read.
func TestExamineDisk(t *testing.T) {
	full := tmpfs(t, 0, "size=1m,mode=0700")
	f, err := os.OpenFile(filepath.Join(full, "others"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for page := make([]byte, 4096); err == nil; _, err = f.Write(page) {
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	found := examined(t, &Config{Dir: full})
	prove.Found(t, found, map[string]string{"write": "failed", "write parts": "failed", "space": "warning"})
	if f := found["write"]; !errors.Is(f.Err, core.ErrNoSpace) {
		t.Errorf("%+v", f)
	}

	still := tmpfs(t, 0, "size=1m,mode=0700")
	if err := unix.Mount("none", still, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	found = examined(t, &Config{Dir: still})
	prove.Found(t, found, map[string]string{"write": "failed", "write parts": "failed"})
	if f := found["write"]; !strings.Contains(f.Err.Error(), "read-only file system") {
		t.Errorf("%+v", f)
	}
}
