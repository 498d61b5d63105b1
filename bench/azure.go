//go:build linux

package main

import (
	"context"
	"net/url"
	"time"

	"github.com/offsite-backup/offsite/conformance/emulator"
)

func azure(ctx context.Context, b bench, dir string) (site, error) {
	server, err := emulator.StartAzurite(ctx, dir)
	if err != nil {
		return site{}, err
	}
	container, err := server.MakeContainer(ctx, bucket)
	var signed string
	if err == nil {
		signed, err = container.SAS("rwc", time.Now().Add(time.Hour))
	}
	if err != nil {
		server.Stop()
		return site{}, err
	}
	plain := []string{"curl", "--silent", "--show-error", "--fail", "--header", "x-ms-blob-type: BlockBlob"}
	object := server.URL() + "/" + bucket + "/curl?" + signed
	return site{
		env: []string{
			"AZURE_STORAGE_KEY=" + emulator.AzuriteKey,
			"RCLONE_AZUREBLOB_ACCOUNT=" + emulator.AzuriteAccount, "RCLONE_AZUREBLOB_KEY=" + emulator.AzuriteKey, "RCLONE_AZUREBLOB_ENDPOINT=" + server.URL(),
		},
		place: "azblob://" + bucket + "/offsite?endpoint=" + url.QueryEscape(server.URL()),
		floor: []contender{{"one plain request (curl)", with(plain, "--upload-file", b.source, object), with(plain, object, "--output")}},
		other: b.rclone(":azureblob:"+bucket,
			[]string{"--azureblob-chunk-size", "16Mi", "--azureblob-upload-concurrency", "8"},
			[]string{"--multi-thread-chunk-size", "16Mi", "--multi-thread-streams", "8"}),
		stop: server.Stop,
	}, nil
}
