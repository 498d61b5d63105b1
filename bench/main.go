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
	"strings"
)

func main() {
	var b bench
	only := flag.String("only", "", "measure at this `place` alone, by a part of its title; none means all")
	flag.Int64Var(&b.size, "mib", 1024, "size of the archive in `MiB`")
	flag.IntVar(&b.rounds, "rounds", 5, "how often each contender runs; the median counts")
	flag.StringVar(&b.dir, "dir", "/dev/shm", "where source, server and target lie; best in memory")
	flag.StringVar(&b.folder, "tree", "", "a `folder` that is sent to several places at once")
	flag.Int64Var(&b.folderSize, "tree-mib", 0, "make that folder, of so many `MiB` of Go's own source and that of its modules; without a folder, 0 leaves that out")
	flag.StringVar(&b.offsite, "offsite", "./offsite", "the built program")
	flag.StringVar(&b.rcloneProgram, "rclone", "rclone", "rclone, to compare with")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.run(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// A bench is one run of all contenders.
type bench struct {
	size          int64 // MiB
	rounds        int
	dir           string
	source        string // the file that is sent
	folder        string
	folderSize    int64 // MiB, of one to be made
	offsite       string
	rcloneProgram string
}

func (b bench) run(ctx context.Context, only string) (err error) {
	if b.offsite, err = filepath.Abs(b.offsite); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(b.dir, "offsite-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	b.source = filepath.Join(b.dir, "archive.bin")
	if err := random(b.source, b.size<<20); err != nil {
		return err
	}
	fmt.Printf("%d MiB, medians of %d rounds in turn\n\n", b.size, b.rounds)
	for _, p := range places {
		if !strings.Contains(p.title, only) {
			continue
		}
		if err := b.measure(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.title, err)
		}
	}
	for _, more := range []struct {
		title string
		run   func(context.Context) error
	}{{"list", b.list}, {"tree", b.tree}} {
		if !strings.Contains(more.title, only) || more.title == "tree" && b.folder == "" && b.folderSize == 0 {
			continue
		}
		if err := more.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", more.title, err)
		}
	}
	return nil
}

func (b bench) measure(ctx context.Context, p place) error {
	var up, down table
	for round := range b.rounds {
		if err := b.at(ctx, p, round, &up, &down); err != nil {
			return err
		}
	}
	up.print(os.Stdout, p.title+", up")
	down.print(os.Stdout, p.title+", down")
	if p.note != "" {
		fmt.Printf("%s\n\n", p.note)
	}
	return nil
}
