//go:build unix

package platform

import (
	"os"
	"syscall"
)

// sameDisk says whether two folders lie on one file system.
func sameDisk(a, b string) bool {
	device := func(dir string) *syscall.Stat_t {
		info, err := os.Stat(dir)
		if err != nil {
			return nil
		}
		s, _ := info.Sys().(*syscall.Stat_t)
		return s
	}
	s, t := device(a), device(b)
	return s != nil && t != nil && s.Dev == t.Dev
}
