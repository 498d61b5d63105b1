package sftp_test

import (
	"context"
	"fmt"
	"log"

	"github.com/offsite-backup/offsite/agents/sftp"
	"github.com/offsite-backup/offsite/core"
)

func Example() {
	ctx := context.Background()
	config := &sftp.Config{
		Host: "nas.example", User: "backup", Dir: "/volume1/web1", KeyFile: "/etc/offsite/nas.key",
		HostKey: "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
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
