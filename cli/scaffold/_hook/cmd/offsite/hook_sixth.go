package main

import "github.com/offsite-backup/offsite/hooks/sixth"

func init() {
	program.Hooks = append(program.Hooks, sixth.Kind{})
}
