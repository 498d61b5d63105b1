package main

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/fault"
)

// A remote is a real server that the built program stores at, and what its tests
// have to know of it.
type remote struct {
	name     string
	address  string                      // host:port
	env      []string                    // of who may store there
	place    func(address string) string // the place, over another address of the server
	small    string                      // options of the place: parts so small that there are many
	inFlight int64                       // most bytes of such parts that are sent at once

	commit   func(fault.Request) bool // whether a request makes an archive of its parts
	metadata func(fault.Request) bool // whether one stores metadata

	held    func() int64    // bytes of parts that the server holds
	left    func() []string // what it holds that belongs to no backup
	objects func() []string // keys of all that it holds but parts
	purge   func()          // takes from it what was deleted, where it keeps that

	stop  func()                  // ends the server, which keeps what it holds
	start func() (address string) // starts it again, elsewhere
}

// remotes starts every server that there is an agent for, for one test.
func remotes(t *testing.T) []remote {
	t.Helper()
	return []remote{minIO(t)}
}

func minIO(t *testing.T) remote {
	t.Helper()
	dir := filepath.Join(memoryDir(t), "minio")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	server := emulator.StartIn(t, dir)
	const bucket = "tests"
	if _, err := server.MakeBucket(t.Context(), bucket, false); err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(server.URL, "http://")
	parts := filepath.Join(dir, ".minio.sys", "multipart")
	trash := filepath.Join(dir, ".minio.sys", "tmp", ".trash") // emptied by the server after minutes
	return remote{
		name: "s3", address: address,
		env: []string{"AWS_ACCESS_KEY_ID=" + server.Key.ID, "AWS_SECRET_ACCESS_KEY=" + server.Key.Secret},
		place: func(address string) string {
			return "s3://" + bucket + "/app?region=us-east-1&endpoint=" + url.QueryEscape("http://"+address)
		},
		small:    "&part_size=8MiB&concurrency=4",
		inFlight: 4 * 8 << 20,
		commit:   func(q fault.Request) bool { return q.Method == "POST" && strings.Contains(q.Target, "uploadId=") },
		metadata: func(q fault.Request) bool { return q.Method == "PUT" && strings.Contains(q.Target, "/meta/") },
		held:     func() int64 { return written(parts) },
		left: func() []string {
			var left []string
			for _, name := range files(parts) {
				left = append(left, "multipart: "+name)
			}
			return append(left, orphans(filepath.Join(dir, bucket, "app"))...)
		},
		objects: func() (keys []string) {
			for _, name := range files(filepath.Join(dir, bucket)) {
				if key, ok := strings.CutSuffix(name, "/xl.meta"); ok {
					keys = append(keys, key)
				}
			}
			return keys
		},
		purge: func() {
			deleted, _ := filepath.Glob(filepath.Join(trash, "*"))
			for _, path := range deleted {
				os.RemoveAll(path)
			}
		},
		stop: func() { server.Stop() },
		start: func() string {
			server = emulator.StartIn(t, dir)
			return strings.TrimPrefix(server.URL, "http://")
		},
	}
}

// orphans are archives without metadata, in a tree with a folder for each object.
func orphans(dir string) (left []string) {
	metas := map[string]bool{}
	entries, _ := os.ReadDir(filepath.Join(dir, "meta"))
	for _, e := range entries {
		metas[strings.TrimSuffix(e.Name(), ".json")] = true
	}
	entries, _ = os.ReadDir(filepath.Join(dir, "data"))
	for _, e := range entries {
		if id, _, _ := strings.Cut(e.Name(), "."); !metas[id] {
			left = append(left, "archive: "+e.Name())
		}
	}
	return left
}

// memoryDir is a folder in memory where the system has one: some tests store
// gigabytes.
func memoryDir(t *testing.T) string {
	t.Helper()
	if info, err := os.Stat("/dev/shm"); err != nil || !info.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "offsite-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// each runs a test at every remote.
func each(t *testing.T, test func(h *host, r remote)) {
	for _, r := range remotes(t) {
		t.Run(r.name, func(t *testing.T) {
			h := &host{T: t, dir: memoryDir(t), env: r.env}
			test(h, r)
		})
	}
}

func (h *host) proxy(r remote) *fault.Proxy {
	h.Helper()
	p, err := fault.Start(fault.Options{Upstream: r.address})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { p.Close() })
	return p
}

// forget removes all that the program remembers of earlier commands.
func (h *host) forget() {
	h.Helper()
	for _, dir := range []string{"state", "cache"} {
		if err := os.RemoveAll(h.at(dir)); err != nil && !os.IsNotExist(err) {
			h.Fatal(err)
		}
	}
}
