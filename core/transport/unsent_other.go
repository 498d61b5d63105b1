//go:build !linux

package transport

import "net"

// keepLittleUnsent does nothing: the buffers of other systems are small.
func keepLittleUnsent(*net.TCPConn) error { return nil }
