//go:build !slim || agent_azure

package main

import "github.com/offsite-backup/offsite/agents/azure"

func init() {
	program.Agents = append(program.Agents, azure.Kind())
}
