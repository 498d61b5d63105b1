package disk

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSpaceOf goes through what file systems answer.
func TestSpaceOf(t *testing.T) {
	for name, c := range map[string]struct {
		answer unix.Statfs_t
		err    error
		want   Space
		fails  bool
	}{
		"blocks":              {unix.Statfs_t{Bsize: 4096, Frsize: 4096, Blocks: 100, Bavail: 25}, nil, Space{409600, 102400}, false},
		"in user space":       {unix.Statfs_t{Bsize: 1 << 20, Frsize: 4096, Blocks: 100, Bavail: 25}, nil, Space{409600, 102400}, false},
		"one unit alone":      {unix.Statfs_t{Bsize: 512, Blocks: 100, Bavail: 25}, nil, Space{51200, 12800}, false},
		"no such question":    {unix.Statfs_t{}, fmt.Errorf("statfs: %w", unix.ENOSYS), Space{}, false},
		"no answer":           {unix.Statfs_t{}, fmt.Errorf("statfs: %w", unix.EOPNOTSUPP), Space{}, false},
		"cannot be asked now": {unix.Statfs_t{}, fmt.Errorf("statfs: %w", unix.EIO), Space{}, true},
	} {
		if got, err := spaceOf(c.answer, c.err); got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}
