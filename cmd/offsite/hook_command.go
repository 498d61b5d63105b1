package main

import (
	"os"

	"github.com/offsite-backup/offsite/hooks/command"
)

func init() {
	program.Hooks = append(program.Hooks, command.Kind{Env: os.Environ()})
	program.End = command.End
}
