// Offsite takes a backup of files and gets it, whole and checked, to several
// places at once.
package main

import "github.com/offsite-backup/offsite/cli"

// program is what the files beside this one link: one file for each kind of agent,
// which a build tag leaves out, and one for each kind of hook.
var program cli.Program

func main() { program.Main() }
