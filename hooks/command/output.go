//go:build linux || darwin

package command

import (
	"os"
	"syscall"
	"time"
)

// An output reads what a program and its children print. One pipe for both
// streams: what was printed first comes first.
type output struct {
	read, write *os.File // write is the program's
	redactor    *redactor
	buf         []byte
	ended       chan struct{}
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

// end returns what was printed until now. Whoever goes on to print gets an error.
func (o *output) end() string {
	_ = o.write.Close()
	_ = o.read.SetReadDeadline(time.Now())
	<-o.ended
	_ = o.read.SetReadDeadline(time.Time{})
	// What a program printed before it ended lies in the pipe by now. A daemon that
	// still holds the pipe is not waited for, and does not keep this from ending.
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
	_ = o.read.Close()
	return o.redactor.end()
}

// maxPipe is more than what a pipe holds: 64 KiB, and 1 MiB where a program asks
// for it.
const maxPipe = 2 << 20
