package local

import (
	"os"

	"golang.org/x/sys/windows"

	"github.com/offsite-backup/offsite/core"
)

// noBlock is not needed: there are no pipes in directories.
const noBlock = 0

var kindsHere = []kind{
	{windows.ERROR_DISK_FULL, core.ErrNoSpace},
	{windows.ERROR_HANDLE_DISK_FULL, core.ErrNoSpace},
	{windows.ERROR_DISK_QUOTA_EXCEEDED, core.ErrNoSpace},
}

func orUnsupported(err error) error { return err }

// syncDir does nothing: a directory cannot be synced here.
func syncDir(*os.Root, string) error { return nil }
