package emulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// An SSHD is OpenSSH's server with its own SFTP server.
type SSHD struct {
	*SFTP
	*process
}

// StartSSHD starts a server that keeps its data in the folder data of dir, which is
// there, and returns when it answers. Its keys are those that it finds in dir. Who may
// log in is the user that runs it. env are lines that stand first in its
// configuration, such as "Ciphers aes128-ctr". The caller stops it; where the system
// can, it ends with this process too. ErrMissing says that Debian's openssh-server has
// to be installed first.
func StartSSHD(ctx context.Context, dir string, env ...string) (*SSHD, error) {
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	return StartSSHDFor(ctx, dir, me.Username, env...)
}

// ports are how many are tried, one after the other: another process may take each
// before the server does, which then ends.
const ports = 5

// StartSSHDFor is StartSSHD for another user, which takes root.
func StartSSHDFor(ctx context.Context, dir, user string, env ...string) (s *SSHD, err error) {
	program, err := sshdProgram()
	if err != nil {
		return nil, err
	}
	for range ports {
		if s, err = startSSHD(ctx, program, dir, user, env); !errors.Is(err, errEnded) {
			break
		}
	}
	return s, err
}

func startSSHD(ctx context.Context, program, dir, user string, env []string) (*SSHD, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	settings, _, err := newSFTP(dir, user, address)
	if err != nil {
		return nil, err
	}
	config, err := configure(program, dir, settings, env)
	if err != nil {
		return nil, err
	}
	s := &SSHD{SFTP: settings}
	if s.process, err = start(ctx, exec.Command(program, "-D", "-e", "-f", config), s.ready); err != nil {
		return nil, fmt.Errorf("sshd: %w", err)
	}
	return s, nil
}

// StartSSHDIn is StartSSHD for one test alone, with a folder that it chose.
func StartSSHDIn(tb testing.TB, dir string) *SSHD {
	tb.Helper()
	s, err := StartSSHD(tb.Context(), dir)
	must(tb, err)
	tb.Cleanup(s.Stop)
	return s
}

// sshdProgram is where the server lies, which wants to be started by its whole path.
func sshdProgram() (string, error) {
	for _, name := range []string{"sshd", "/usr/sbin/sshd", "/usr/local/sbin/sshd"} {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("sshd, which Debian has in openssh-server: %w", ErrMissing)
}

// configure writes a configuration, with what this version of the server knows.
func configure(program, dir string, s *SFTP, lines []string) (string, error) {
	if os.Geteuid() == 0 {
		// It drops its rights there, and the service that makes it need not run.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return "", err
		}
		// Users other than root read their keys and come to their data.
		if err := os.Chmod(dir, 0o711); err != nil {
			return "", err
		}
	}
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return "", err
	}
	lines = append(lines,
		"ListenAddress "+host, "Port "+port, "HostKey "+dir+"/host_key", "PidFile none",
		"AuthorizedKeysFile "+dir+"/authorized_keys", "TrustedUserCAKeys "+dir+"/authority.pub",
		"StrictModes no", "UsePAM no", "UseDNS no", "PermitRootLogin yes", "PasswordAuthentication yes", "KbdInteractiveAuthentication no",
		"MaxStartups 200", "LogLevel ERROR", "DisableForwarding yes", "PermitTTY no",
		"Subsystem sftp internal-sftp", "ForceCommand internal-sftp -d "+s.Dir,
	)
	config := filepath.Join(dir, "sshd_config")
	var said []byte
	// Since 9.8 it makes an address wait that failed often.
	for _, more := range [][]string{{"PerSourcePenalties no"}, nil} {
		text := strings.Join(append(lines[:len(lines):len(lines)], more...), "\n") + "\n"
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return "", err
		}
		if said, err = exec.Command(program, "-t", "-f", config).CombinedOutput(); err == nil {
			return config, nil
		}
	}
	return "", fmt.Errorf("sshd does not take its configuration: %w: %s", err, said)
}

func (s *SSHD) ready(ctx context.Context) error { return s.greets(ctx) }

// greets says whether the server shows its key: another one's is of who was faster.
func (s *SFTP) greets(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.Address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	shown := false
	_, _, _, err = ssh.NewClientConn(conn, s.Address, &ssh.ClientConfig{User: s.User, HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
		shown = bytes.Equal(key.Marshal(), s.host.Marshal())
		return nil
	}})
	if shown {
		return nil
	}
	return err
}

// Stop kills the server and those of its processes that serve a connection each. It
// keeps its data. Twice is fine.
func (s *SSHD) Stop() {
	for _, pid := range descendants(s.handle.Pid, parents()) {
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill() // it may have ended
		}
	}
	s.process.Stop()
}

// parents are the processes of this machine by their parents.
func parents() map[int][]int {
	all := map[int][]int{}
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it ended
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		pid, e1 := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		parent, e2 := strconv.Atoi(fields[1])
		if errors.Join(e1, e2) == nil {
			all[parent] = append(all[parent], pid)
		}
	}
	return all
}

// descendants are all that a process started, and those that they started.
func descendants(pid int, parents map[int][]int) (all []int) {
	for _, child := range parents[pid] {
		all = append(append(all, child), descendants(child, parents)...)
	}
	return all
}
