package archive

import (
	"io/fs"
	"os"
)

// statOf knows nothing beyond fs.FileInfo here: no owner, no hard links.
func statOf(fs.FileInfo) stat { return stat{blocks: -1} }

const readFlags = os.O_RDONLY
