package transport

import (
	"net"

	"golang.org/x/sys/unix"
)

// mostUnsent is enough to keep a fast network busy between two writes.
const mostUnsent = 256 << 10

// keepLittleUnsent makes a write wait while more than a little is not on its way
// yet (TCP_NOTSENT_LOWAT). Otherwise megabytes wait in the system's buffer, and to
// a slow place nothing seems to move for minutes.
func keepLittleUnsent(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, mostUnsent)
	})
	if err != nil {
		return err
	}
	return set
}
