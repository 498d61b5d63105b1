// Offsite takes a backup of files and gets it, whole and checked, to several
// places at once.
package main

import (
	"github.com/offsite-backup/offsite/cli"
	"github.com/offsite-backup/offsite/core"
)

// kinds are those that the files beside this one link: one file for each, which a
// build tag leaves out.
var kinds core.Kinds

func main() { cli.Main(kinds...) }
