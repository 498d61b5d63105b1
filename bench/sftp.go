//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/fault"
)

func sftp(ctx context.Context, b bench, dir string) (site, error) {
	server, err := emulator.StartSSHD(ctx, dir)
	if err != nil {
		return site{}, err
	}
	s, err := sftpSite(b, server.SFTP, server.Address, dir)
	if err != nil {
		server.Stop()
		return site{}, err
	}
	s.stop = server.Stop
	return s, nil
}

// sftpFar is the same server at a distance.
func sftpFar(ctx context.Context, b bench, dir string) (site, error) {
	server, err := emulator.StartSSHD(ctx, dir)
	if err != nil {
		return site{}, err
	}
	way, err := fault.Start(fault.Options{Upstream: server.Address, Opaque: true, RoundTrip: distance})
	if err != nil {
		server.Stop()
		return site{}, err
	}
	stop := func() {
		_ = way.Close() // nothing uses it any more
		server.Stop()
	}
	s, err := sftpSite(b, server.SFTP, way.Addr(), dir)
	if err != nil {
		stop()
	}
	s.stop = stop
	return s, err
}

// sftpNote is of the floor.
const sftpNote = "OpenSSH's sftp is two processes, itself and ssh: CPU is that of both, MiB the larger one's."

// distance is how long a byte takes to that server and back.
const distance = 40 * time.Millisecond

// sftpSite is a server of SFTP over some address of it.
func sftpSite(b bench, server *emulator.SFTP, address, dir string) (s site, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return s, err
	}
	known := filepath.Join(dir, "known")
	if err := os.WriteFile(known, []byte(server.HostLine(address)+"\n"), 0o600); err != nil {
		return s, err
	}
	// Its client takes a script, and names its target there.
	plain := fmt.Sprintf(`sftp -F none -q -b - -P %s -i %s -o UserKnownHostsFile=%s -o IdentitiesOnly=yes %s@%s`, port, server.Key, known, server.User, host)
	return site{
		env: []string{
			"RCLONE_SFTP_HOST=" + host, "RCLONE_SFTP_PORT=" + port, "RCLONE_SFTP_USER=" + server.User, "RCLONE_SFTP_KEY_FILE=" + server.Key,
			"RCLONE_SFTP_KNOWN_HOSTS_FILE=" + known, "RCLONE_SFTP_SHELL_TYPE=none",
		},
		place: server.URL(address, "offsite"),
		floor: []contender{{"OpenSSH's sftp",
			[]string{"sh", "-c", "echo put $0 plain | " + plain, b.source},
			[]string{"sh", "-c", "echo get plain $0 | " + plain}}},
		other: b.rclone(":sftp:"+server.Dir, // without it, its root is the machine's
			[]string{"--sftp-concurrency", "64", "--multi-thread-streams", "4"},
			[]string{"--multi-thread-chunk-size", "16Mi", "--multi-thread-streams", "4"}),
	}, nil
}
