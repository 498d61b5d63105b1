package sftp

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// What a server grants and cannot do is found out before a backup depends on it, and
// nothing of that stays there.
func TestExamine(t *testing.T) {
	bare := awkward(t, emulator.Habits{Bare: true})
	for name, test := range map[string]struct {
		server *emulator.SFTP
		want   map[string]string
	}{
		"openssh": {openssh.Get(t).SFTP, map[string]string{"host key": "ok", "sync": "ok", "permissions": "ok"}},
		"pkgsftp": {pkgsftp.Get(t).SFTP, map[string]string{"host key": "ok", "sync": "note"}},
		"bare":    {bare.SFTP, map[string]string{"host key": "ok", "sync": "note"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := configured(test.server, test.server.Address, "examined")
			if err := os.Mkdir(c.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			found := prove.Examined(t, prove.Open(t, c, core.Env{}))
			if f := found["host key"]; f.Why != test.server.HostKey {
				t.Errorf("the host key is %q", f.Why)
			}
			space, ok := found["space"]
			if ok != (name != "bare") {
				t.Errorf("space: %+v", space)
			}
			delete(found, "space") // of the disk that the tests run on
			prove.Found(t, found, test.want)
			if err := os.Chmod(c.Dir, 0o777); err != nil {
				t.Fatal(err)
			}
			found = prove.Examined(t, prove.Open(t, c, core.Env{}))
			if f := found["permissions"]; f.Verdict != core.VerdictWarning {
				t.Errorf("a directory that others may write to: %+v", f)
			}
			if left, err := os.ReadDir(filepath.Join(c.Dir, "tmp")); len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}
