package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

func TestKinds(t *testing.T) {
	for _, test := range []struct {
		err  error
		want core.ErrorKind
	}{
		{os.ErrNotExist, core.ErrNotFound},
		{os.ErrPermission, core.ErrDenied},
		{fmt.Errorf("x: %w", fs.ErrExist), core.ErrExists},
		{errors.ErrUnsupported, core.ErrUnsupported},
		{sftp.ErrSSHFxConnectionLost, core.ErrUnavailable},
		{io.EOF, core.ErrUnavailable},
		{context.Canceled, core.ErrUnavailable},
		{core.Errorf(core.ErrNoSpace, "full"), core.ErrNoSpace},
		{&sftp.StatusError{Code: codeFailure}, core.ErrUnavailable},
		{&sftp.StatusError{Code: codeExists}, core.ErrExists},
		{&sftp.StatusError{Code: 15}, core.ErrNoSpace},
		{&sftp.StatusError{Code: 8}, core.ErrUnsupported},
		{&sftp.StatusError{Code: 999}, core.ErrUnavailable},
	} {
		if got := new(tree).Kind(&fs.PathError{Op: "open", Path: "/x", Err: test.err}); got != test.want {
			t.Errorf("%v is %q, want %q", test.err, got, test.want)
		}
	}
}

// A server with a full file system says "Failure", and the agent that it is full.
func TestNoSpace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	for name, server := range map[string]*emulator.SFTP{"openssh": openssh.Get(t).SFTP, "pkgsftp": pkgsftp.Get(t).SFTP} {
		t.Run(name, func(t *testing.T) {
			small := server.Dir + "/small"
			if err := os.Mkdir(small, 0o700); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=8m", "offsite", small).CombinedOutput(); err != nil {
				t.Skipf("mount: %v: %s", err, out)
			}
			t.Cleanup(func() { _ = exec.Command("umount", small).Run() })
			a := prove.Open(t, configured(server, server.Address, "small"), core.Env{})
			begin := time.Now()
			_, err := prove.Upload(t, a, prove.Noise(10*smallPart))
			prove.Kind(t, "an upload", err, core.ErrNoSpace)
			if err == nil || !strings.Contains(err.Error(), "bytes left") || time.Since(begin) > 20*time.Second {
				t.Errorf("after %v: %v", time.Since(begin), err)
			}
			body := prove.Noise(smallPart)
			for _, err := range a.(core.Sweeper).Sweep(t.Context(), func(core.ID) bool { return true }) {
				if err != nil {
					t.Error(err)
				}
			}
			prove.Holds(t, a, prove.Uploaded(t, a, body), body)
		})
	}
}
