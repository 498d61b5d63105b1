//go:build !slim || agent_sixth

package main

import "github.com/offsite-backup/offsite/agents/sixth"

func init() {
	program.Agents = append(program.Agents, sixth.Kind())
}
