package local_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/offsite-backup/offsite/agents/local"
	"github.com/offsite-backup/offsite/core"
)

func Example() {
	ctx := context.Background()
	tmp, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	dump := filepath.Join(tmp, "app.dump")
	if err := os.WriteFile(dump, []byte("all my rows"), 0o600); err != nil {
		log.Fatal(err)
	}

	agent, err := (&local.Config{Dir: filepath.Join(tmp, "copies")}).Open(ctx, core.Env{})
	if err != nil {
		log.Fatal(err)
	}
	defer agent.Close()

	stored, err := core.Upload(ctx, agent, dump, core.Backup{Job: "app"})
	if err != nil {
		log.Fatal(err)
	}
	for backup, err := range agent.List(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(backup.Job, backup.Size, "bytes")
	}
	if _, err := core.Download(ctx, agent, stored.ID, filepath.Join(tmp, "back")); err != nil {
		log.Fatal(err)
	}
	back, err := os.ReadFile(filepath.Join(tmp, "back"))
	fmt.Println(string(back), err)
	// Output:
	// app 11 bytes
	// all my rows <nil>
}
