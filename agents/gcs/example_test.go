package gcs_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/offsite-backup/offsite/agents/gcs"
	"github.com/offsite-backup/offsite/core"
)

func Example() {
	ctx := context.Background()
	config := &gcs.Config{
		Bucket: "acme-backups", Prefix: "web1",
		Lock: "locked", LockFor: 30 * 24 * time.Hour,
	}
	agent, err := config.Open(ctx, core.Env{})
	if err != nil {
		log.Fatal(err)
	}
	defer agent.Close()

	stored, err := core.Upload(ctx, agent, "app.dump", core.Backup{Job: "app"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(stored.ID)
}
