//go:build linux

package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/offsite-backup/offsite/conformance/emulator"
)

const (
	bucket = "bench"
	region = "us-east-1"
	id     = "20261123T045900Z-benchbenchben"
)

// A contender sends the source and fetches it again.
type contender struct {
	name     string
	up, down []string // commands
}

// s3 lets every contender store and fetch once at a fresh server.
func (b bench) s3(ctx context.Context, round int, source string, up, down *table) error {
	dir := filepath.Join(b.dir, fmt.Sprint("round-", round))
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.MkdirAll(filepath.Join(dir, "minio"), 0o700); err != nil {
		return err
	}
	server, err := emulator.StartMinIO(ctx, filepath.Join(dir, "minio"))
	if err != nil {
		return err
	}
	defer server.Stop()
	env := []string{
		"AWS_ACCESS_KEY_ID=" + server.Key.ID, "AWS_SECRET_ACCESS_KEY=" + server.Key.Secret, "AWS_REGION=" + region,
		"RCLONE_CONFIG=" + filepath.Join(dir, "none"), "RCLONE_S3_PROVIDER=Minio", "RCLONE_S3_ENDPOINT=" + server.URL, "RCLONE_S3_REGION=" + region, "RCLONE_S3_ENV_AUTH=true",
		"OFFSITE_STATE=" + filepath.Join(dir, "state"),
	}
	if _, err := measure(ctx, env, b.rclone, "mkdir", ":s3:"+bucket); err != nil {
		return err
	}
	all := b.contenders(server, source)
	for i := range all { // first in turn, the table's order in the first round
		c := all[(i+round)%len(all)]
		if err := b.try(ctx, env, c, dir, source, up, down); err != nil {
			return err
		}
	}
	return b.null(ctx, env, source, up)
}

func (b bench) try(ctx context.Context, env []string, c contender, dir, source string, up, down *table) error {
	sent, err := measure(ctx, env, c.up[0], c.up[1:]...)
	if err != nil {
		return err
	}
	target := filepath.Join(dir, "fetched")
	got, err := measure(ctx, env, c.down[0], append(slices.Clone(c.down[1:]), target)...)
	if err != nil {
		return err
	}
	if err := same(source, target); err != nil {
		return err
	}
	up.add(c.name, sent)
	down.add(c.name, got)
	return os.Remove(target)
}

func (b bench) contenders(server *emulator.MinIO, source string) []contender {
	plain := []string{"curl", "--silent", "--show-error", "--fail", "--aws-sigv4", "aws:amz:" + region + ":s3", "--user", server.Key.ID + ":" + server.Key.Secret, "--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"}
	object := server.URL + "/" + bucket + "/curl"
	place := "s3://" + bucket + "/offsite?region=" + region + "&endpoint=" + url.QueryEscape(server.URL)
	return []contender{
		{"one plain request (curl)", with(plain, "--upload-file", source, object), with(plain, object, "--output")},
		{"rclone, its defaults", []string{b.rclone, "copyto", source, ":s3:" + bucket + "/rclone"}, []string{b.rclone, "copyto", ":s3:" + bucket + "/rclone"}},
		{"rclone, our part size and concurrency",
			[]string{b.rclone, "copyto", "--s3-chunk-size", "32Mi", "--s3-upload-concurrency", "8", source, ":s3:" + bucket + "/rclone-8"},
			[]string{b.rclone, "copyto", "--multi-thread-chunk-size", "32Mi", "--multi-thread-streams", "8", ":s3:" + bucket + "/rclone-8"}},
		{"offsite", []string{b.offsite, "upload", source, "--quiet", "--id", id, "--to", place}, []string{b.offsite, "download", "--quiet", "--from", place, id}},
	}
}

func with(command []string, more ...string) []string { return append(slices.Clone(command), more...) }

// null sends to a server that keeps nothing.
func (b bench) null(ctx context.Context, env []string, source string, up *table) error {
	server := newNull()
	defer server.Close()
	place := "s3://" + bucket + "/offsite?region=" + region + "&endpoint=" + url.QueryEscape(server.URL)
	u, err := measure(ctx, env, b.offsite, "upload", source, "--quiet", "--id", id, "--to", place)
	if err != nil {
		return err
	}
	up.add("offsite, to a server that throws away", u)
	return nil
}
