//go:build !slim || agent_gcs

package main

import "github.com/offsite-backup/offsite/agents/gcs"

func init() {
	program.Agents = append(program.Agents, gcs.Kind())
}
