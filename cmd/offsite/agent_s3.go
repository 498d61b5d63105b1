//go:build !slim || agent_s3

package main

import "github.com/offsite-backup/offsite/agents/s3"

func init() {
	program.Agents = append(program.Agents, s3.Kind())
}
