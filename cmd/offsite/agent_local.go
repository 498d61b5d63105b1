//go:build !slim || agent_local

package main

import "github.com/offsite-backup/offsite/agents/local"

func init() {
	program.Agents = append(program.Agents, local.Kind())
}
