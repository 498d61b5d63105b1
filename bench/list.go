//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/core"
)

// backups is how many a place holds whose list is measured.
const backups = 10_000

// list measures a list of many backups at S3, the first time and with what that
// remembers.
func (b bench) list(ctx context.Context) error {
	dir := filepath.Join(b.dir, "list")
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.MkdirAll(filepath.Join(dir, "server"), 0o700); err != nil {
		return err
	}
	server, err := emulator.StartMinIO(ctx, filepath.Join(dir, "server"))
	if err != nil {
		return err
	}
	defer server.Stop()
	made, err := server.MakeBucket(ctx, bucket, false)
	if err == nil {
		err = plant(ctx, made)
	}
	if err != nil {
		return err
	}
	var cold, again table
	for round := range b.rounds {
		env := []string{
			"AWS_ACCESS_KEY_ID=" + server.Key.ID, "AWS_SECRET_ACCESS_KEY=" + server.Key.Secret,
			"OFFSITE_STATE=" + filepath.Join(dir, fmt.Sprint("state-", round)), // the cache is in there
		}
		for _, t := range []*table{&cold, &again} {
			used, err := measure(ctx, env, b.offsite, "list", "--quiet", "--json", "--from", s3Place(server.URL))
			if err != nil {
				return err
			}
			t.add("offsite", used)
		}
	}
	fmt.Printf("| list of %d backups, S3 (MinIO) | wall s | CPU s | MiB |\n|---|---|---|---|\n", backups)
	cold.rows[0].line(os.Stdout, "the first time")
	again.rows[0].line(os.Stdout, "again")
	fmt.Println()
	return nil
}

// plant stores small backups by a client that knows nothing of them.
func plant(ctx context.Context, to emulator.Bucket) error {
	var all sync.WaitGroup
	errs := make(chan error, 16)
	for worker := range cap(errs) {
		all.Go(func() {
			for i := worker; i < backups; i += cap(errs) {
				if err := plantOne(ctx, to, i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	return <-errs
}

func plantOne(ctx context.Context, to emulator.Bucket, i int) error {
	at := time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC)
	name, err := core.NewID(at, rand.Reader)
	if err != nil {
		return err
	}
	archive := []byte("an archive")
	doc, err := core.Backup{
		ID: name, Job: "bench", Name: "bench", Created: at, Archive: "data/" + string(name) + ".bin",
		MediaType: "application/octet-stream", Size: int64(len(archive)), SHA256: fmt.Sprintf("%x", sha256.Sum256(archive)),
	}.Encode()
	if err != nil {
		return err
	}
	if err := to.Put(ctx, "offsite", "data/"+string(name)+".bin", archive); err != nil {
		return err
	}
	return to.Put(ctx, "offsite", "meta/"+string(name)+".json", doc)
}
