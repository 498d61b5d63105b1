//go:build linux || darwin

package command

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An output reads what a program and its children print. One pipe for both
// streams: what was printed first comes first.
type output struct {
	read, write *os.File // write is the program's
	redactor    *redactor
	buf         []byte
	ended       chan struct{}
	stopped     bool
}

func newOutput(secrets [][]byte) (*output, error) {
	o := &output{redactor: newRedactor(secrets), buf: make([]byte, 32<<10), ended: make(chan struct{})}
	var err error
	if o.read, o.write, err = os.Pipe(); err != nil {
		return nil, err
	}
	go func() {
		defer close(o.ended)
		for {
			n, err := o.read.Read(o.buf)
			o.redactor.write(o.buf[:n])
			if err != nil {
				return
			}
		}
	}()
	return o, nil
}

// end returns what was printed until now. Whoever goes on to print gets an error,
// unless the output was handed on.
func (o *output) end() string {
	o.stop()
	_ = o.read.Close()
	return o.redactor.end()
}

// stop reads what was printed until now, and no more.
func (o *output) stop() {
	if o.stopped {
		return
	}
	o.stopped = true
	_ = o.write.Close()
	_ = o.read.SetReadDeadline(time.Now())
	<-o.ended
	_ = o.read.SetReadDeadline(time.Time{})
	// What a program printed before it ended lies in the pipe by now. Who still holds
	// the pipe is not waited for, and does not keep this from ending.
	if conn, err := o.read.SyscallConn(); err == nil {
		_ = conn.Read(func(fd uintptr) bool {
			for left := maxPipe; left > 0; {
				n, err := syscall.Read(int(fd), o.buf)
				if n <= 0 || err != nil {
					break
				}
				o.redactor.write(o.buf[:n])
				left -= n
			}
			return true
		})
	}
}

// hand says whether somebody may go on to print after stop, and makes the pipe one
// that another process can read: this one does not wait in a read, others do.
func (o *output) hand() (held bool) {
	conn, err := o.read.SyscallConn()
	if err != nil {
		return false
	}
	err = conn.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, 0)
		if held = fds[0].Revents&unix.POLLHUP == 0; held {
			_ = syscall.SetNonblock(int(fd), false)
		}
	})
	return held && err == nil
}

// maxPipe is more than what a pipe holds: 64 KiB, and 1 MiB where a program asks
// for it.
const maxPipe = 2 << 20
