//go:build linux

package main

import (
	"context"
	"net/url"

	"github.com/offsite-backup/offsite/conformance/emulator"
)

const region = "us-east-1"

func s3(ctx context.Context, b bench, dir string) (site, error) {
	server, err := emulator.StartMinIO(ctx, dir)
	if err != nil {
		return site{}, err
	}
	if _, err := server.MakeBucket(ctx, bucket, false); err != nil {
		server.Stop()
		return site{}, err
	}
	plain := []string{"curl", "--silent", "--show-error", "--fail", "--aws-sigv4", "aws:amz:" + region + ":s3", "--user", server.Key.ID + ":" + server.Key.Secret, "--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"}
	object := server.URL + "/" + bucket + "/curl"
	s := site{
		env: []string{
			"AWS_ACCESS_KEY_ID=" + server.Key.ID, "AWS_SECRET_ACCESS_KEY=" + server.Key.Secret, "AWS_REGION=" + region,
			"RCLONE_S3_PROVIDER=Minio", "RCLONE_S3_ENDPOINT=" + server.URL, "RCLONE_S3_REGION=" + region, "RCLONE_S3_ENV_AUTH=true",
		},
		place: s3Place(server.URL),
		floor: []contender{{"one plain request (curl)", with(plain, "--upload-file", b.source, object), with(plain, object, "--output")}},
		other: b.rclone(":s3:"+bucket,
			[]string{"--s3-chunk-size", "32Mi", "--s3-upload-concurrency", "8"},
			[]string{"--multi-thread-chunk-size", "32Mi", "--multi-thread-streams", "8"}),
		stop: server.Stop,
	}
	s.more = func(ctx context.Context, up *table) error { return b.null(ctx, s.env, up) }
	return s, nil
}

func s3Place(server string) string {
	return "s3://" + bucket + "/offsite?region=" + region + "&endpoint=" + url.QueryEscape(server)
}

// null sends to a server that keeps nothing.
func (b bench) null(ctx context.Context, env []string, up *table) error {
	server := newNull()
	defer server.Close()
	u, err := measure(ctx, env, b.offsite, "upload", b.source, "--quiet", "--id", id, "--to", s3Place(server.URL))
	if err != nil {
		return err
	}
	up.add("offsite, to a server that throws away", u)
	return nil
}
