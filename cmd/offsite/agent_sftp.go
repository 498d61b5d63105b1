//go:build !slim || agent_sftp

package main

import "github.com/offsite-backup/offsite/agents/sftp"

func init() {
	program.Agents = append(program.Agents, sftp.Kind())
}
