//go:build !unix

package platform

import (
	"path/filepath"
	"strings"
)

// sameDisk says whether two folders lie on one file system, as far as their paths tell.
func sameDisk(a, b string) bool {
	return strings.EqualFold(filepath.VolumeName(a), filepath.VolumeName(b))
}
