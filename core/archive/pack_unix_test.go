//go:build unix

package archive_test

import (
	"os/exec"
	"syscall"
)

// nobody has a command run by a user without rights.
func nobody(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}
