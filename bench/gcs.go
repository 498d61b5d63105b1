//go:build linux

package main

import (
	"context"
	"net/url"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/emulator/fakegcs"
)

func gcs(ctx context.Context, b bench, dir string) (site, error) {
	server, err := emulator.StartFakeGCS(ctx, dir)
	if err != nil {
		return site{}, err
	}
	server.MakeBucket(bucket, fakegcs.Bucket{})
	other := b.rclone(":gcs:"+bucket,
		nil, // it has one stream, whatever its parts
		[]string{"--multi-thread-chunk-size", "64Mi", "--multi-thread-streams", "8"})
	return site{
		env: []string{
			"GOOGLE_APPLICATION_CREDENTIALS=" + server.Credentials,
			"RCLONE_GCS_ENDPOINT=" + server.URL() + "/storage/v1/", "RCLONE_GCS_SERVICE_ACCOUNT_FILE=" + server.Credentials, "RCLONE_GCS_BUCKET_POLICY_ONLY=true",
		},
		place: "gs://" + bucket + "/offsite?endpoint=" + url.QueryEscape(server.URL()),
		other: other,
		stop:  server.Stop,
	}, nil
}
