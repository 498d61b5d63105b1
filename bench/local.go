//go:build linux

package main

import (
	"context"
	"path/filepath"
)

func local(_ context.Context, b bench, dir string) (site, error) {
	return site{
		place: filepath.Join(dir, "offsite"),
		floor: []contender{{"cp", []string{"cp", b.source, filepath.Join(dir, "cp")}, []string{"cp", filepath.Join(dir, "cp")}}},
		other: b.rclone(dir, []string{"--multi-thread-chunk-size", "16Mi", "--multi-thread-streams", "8"}, []string{"--multi-thread-chunk-size", "16Mi", "--multi-thread-streams", "8"}),
		stop:  func() {},
	}, nil
}
