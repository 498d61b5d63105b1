//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// tree measures a backup of a folder to several places at once, beside an archive by
// tar and zstd that rclone copies to each in turn.
func (b bench) tree(ctx context.Context) error {
	if b.folder == "" {
		b.folder = filepath.Join(b.dir, "source")
		if err := makeFolder(ctx, b.folder, b.folderSize<<20); err != nil {
			return err
		}
	}
	files, size, err := sizeOf(b.folder)
	if err != nil {
		return err
	}
	var all table
	for round := range b.rounds {
		if err := b.treeOnce(ctx, round, &all); err != nil {
			return err
		}
	}
	fmt.Printf("| a folder of %d MB in %d files, at once to S3, Azure, SFTP and a directory | wall s | of tar, zstd and rclone | CPU s | MiB |\n|---|---|---|---|---|\n", size/1e6, files)
	for _, r := range all.rows {
		r.line(os.Stdout, r.name, all.rows[0])
	}
	fmt.Println()
	return nil
}

func (b bench) treeOnce(ctx context.Context, round int, all *table) (err error) {
	dir := filepath.Join(b.dir, fmt.Sprint("tree-", round))
	defer func() { _ = os.RemoveAll(dir) }()
	b.source = filepath.Join(dir, "archive.tar.zst") // what rclone copies
	env := []string{"RCLONE_CONFIG=" + filepath.Join(dir, "none"), "OFFSITE_STATE=" + filepath.Join(dir, "state")}
	args := []string{"backup", b.folder, "--quiet"}
	var sites []site
	defer func() {
		for _, s := range sites {
			s.stop()
		}
	}()
	for _, start := range []func(context.Context, bench, string) (site, error){s3, azure, sftp, local} {
		server := filepath.Join(dir, fmt.Sprint("server-", len(sites)))
		if err := os.MkdirAll(server, 0o700); err != nil {
			return err
		}
		s, err := start(ctx, b, server)
		if err != nil {
			return err
		}
		sites, env, args = append(sites, s), append(env, s.env...), append(args, "--to", s.place)
	}
	ways := []func() error{
		func() error { return b.inTurn(ctx, env, sites, all) },
		func() error {
			used, err := measure(ctx, env, b.offsite, args...)
			all.add("offsite", used)
			return err
		},
	}
	all.know("tar, zstd, and rclone to each in turn")
	all.know("offsite")
	return errors.Join(ways[round%2](), ways[(round+1)%2]())
}

// inTurn packs by tar and zstd, and lets rclone copy that to each place.
func (b bench) inTurn(ctx context.Context, env []string, sites []site, all *table) error {
	sum, err := measure(ctx, env, "sh", "-c", `tar -C / -cf - "${0#/}" | zstd -q -T0 -o "$1"`, b.folder, b.source)
	if err != nil {
		return err
	}
	for _, s := range sites {
		used, err := measure(ctx, env, s.other[0].up[0], s.other[0].up[1:]...)
		if err != nil {
			return err
		}
		sum = usage{sum.wall + used.wall, sum.cpu + used.cpu, max(sum.memory, used.memory)}
	}
	all.add("tar, zstd, and rclone to each in turn", sum)
	return nil
}
