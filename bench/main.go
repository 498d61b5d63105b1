//go:build linux

// Command bench measures offsite side by side with other programs: the same file,
// the same server, in turn, on memory. It prints a table of medians and their
// ratios. No test depends on it: speed is looked at, not asserted.
//
// The floor is one plain request with nothing around it. Another row sends to a
// server that reads and throws away, which shows what the client alone costs.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
)

func main() {
	var b bench
	flag.Int64Var(&b.size, "mib", 1024, "size of the archive in `MiB`")
	flag.IntVar(&b.rounds, "rounds", 5, "how often each contender runs; the median counts")
	flag.StringVar(&b.dir, "dir", "/dev/shm", "where source, server and target lie; best in memory")
	flag.StringVar(&b.offsite, "offsite", "./offsite", "the built program")
	flag.StringVar(&b.rclone, "rclone", "rclone", "rclone, to compare with")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// A bench is one run of all contenders.
type bench struct {
	size            int64 // MiB
	rounds          int
	dir             string
	offsite, rclone string
}

func (b bench) run(ctx context.Context) (err error) {
	if b.offsite, err = filepath.Abs(b.offsite); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(b.dir, "offsite-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	source := filepath.Join(b.dir, "archive.bin")
	if err := random(source, b.size<<20); err != nil {
		return err
	}
	var up, down table
	for round := range b.rounds {
		if err := b.s3(ctx, round, source, &up, &down); err != nil {
			return err
		}
	}
	fmt.Printf("%d MiB, medians of %d rounds in turn\n\n", b.size, b.rounds)
	up.print(os.Stdout, "S3 (MinIO), up")
	down.print(os.Stdout, "S3 (MinIO), down")
	return nil
}
