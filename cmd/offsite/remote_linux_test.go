package main

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/conformance/emulator"
	"github.com/offsite-backup/offsite/conformance/emulator/fakegcs"
	"github.com/offsite-backup/offsite/conformance/fault"
)

// A remote is a real server that the built program stores at, and what its tests
// have to know of it.
type remote struct {
	brief    bool                        // what is proven at length elsewhere is proven in short here
	address  string                      // host:port
	env      []string                    // of who may store there
	place    func(address string) string // the place, over another address of the server
	small    string                      // options of the place: parts so small that there are many
	inFlight int64                       // most bytes of such parts that are sent at once

	opaque   bool                     // whether it speaks no HTTP, so that there are no requests to look at
	commit   func(fault.Request) bool // whether a request makes an archive of its parts
	metadata func(fault.Request) bool // whether one stores metadata

	raw     conformance.Raw // the place, seen by another client
	held    func() int64    // bytes of parts that the server holds
	left    func() []string // what it holds that belongs to no backup
	objects func() []string // keys of all that it holds but parts
	purge   func()          // takes from it what was deleted, where it keeps that

	settings *emulator.SFTP // of a server of SFTP

	stop  func()                  // ends the server, which keeps what it holds
	start func() (address string) // starts it again, elsewhere
}

// remotes start every server that there is an agent for, each for one test.
var remotes = []struct {
	name  string
	start func(*testing.T) remote
}{
	{"s3", minIO},
	{"azure", azurite},
	{"sftp", openSSH},
	{"gcs", fakeGCS},
}

// prefix is that of the places.
const prefix = "app"

func minIO(t *testing.T) remote {
	t.Helper()
	dir := filepath.Join(memoryDir(t), "minio")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	server := emulator.StartIn(t, dir)
	bucket, err := server.MakeBucket(t.Context(), "tests", false)
	if err != nil {
		t.Fatal(err)
	}
	parts := filepath.Join(dir, ".minio.sys", "multipart")
	trash := filepath.Join(dir, ".minio.sys", "tmp", ".trash") // emptied by the server after minutes
	return remote{
		address: strings.TrimPrefix(server.URL, "http://"),
		env:     []string{"AWS_ACCESS_KEY_ID=" + server.Key.ID, "AWS_SECRET_ACCESS_KEY=" + server.Key.Secret},
		place: func(address string) string {
			return "s3://" + bucket.Name + "/" + prefix + "?region=us-east-1&endpoint=" + url.QueryEscape("http://"+address)
		},
		small:    "&part_size=8MiB&concurrency=4",
		inFlight: 4 * 8 << 20,
		commit:   func(q fault.Request) bool { return q.Method == "POST" && strings.Contains(q.Target, "uploadId=") },
		metadata: func(q fault.Request) bool { return q.Method == "PUT" && strings.Contains(q.Target, "/meta/") },
		raw:      bucket,
		held:     func() int64 { return written(parts) },
		left: func() []string {
			var left []string
			for _, name := range files(parts) {
				left = append(left, "parts: "+name)
			}
			return append(left, orphans(inBucket(dir, bucket.Name))...)
		},
		objects: func() []string { return inBucket(dir, bucket.Name) },
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

func azurite(t *testing.T) remote {
	t.Helper()
	dir := t.TempDir() // it keeps what was deleted, which memory has no room for
	server := emulator.StartAzuriteIn(t, dir)
	container, err := server.MakeContainer(t.Context(), "tests")
	if err != nil {
		t.Fatal(err)
	}
	return remote{
		address: server.Address,
		env:     []string{"AZURE_STORAGE_KEY=" + emulator.AzuriteKey},
		place: func(address string) string {
			return "azblob://" + container.Name + "/" + prefix + "?endpoint=" + url.QueryEscape("http://"+address+"/"+emulator.AzuriteAccount)
		},
		small:    "&part_size=8MiB&concurrency=4",
		inFlight: 4 * 8 << 20,
		commit:   func(q fault.Request) bool { return strings.Contains(q.Target, "comp=blocklist") && q.Method == "PUT" },
		metadata: func(q fault.Request) bool { return q.Method == "PUT" && strings.Contains(q.Target, "%2Fmeta%2F") },
		raw:      container,
		held: func() int64 {
			n, err := container.Staged(context.Background(), prefix)
			if err != nil {
				t.Error(err)
			}
			return n
		},
		left:    func() []string { return left(t, container) },
		objects: func() []string { return objects(t, container) },
		purge:   func() {},
		stop:    func() { server.Stop() },
		start: func() string {
			server = emulator.StartAzuriteIn(t, dir)
			// One that is killed may have forgotten what it did in its last seconds.
			container, _ = server.MakeContainer(context.Background(), container.Name) // it may be there
			return server.Address
		},
	}
}

func openSSH(t *testing.T) remote {
	t.Helper()
	dir := memoryDir(t)
	server := emulator.StartSSHDIn(t, dir)
	raw := conformance.Directory(server.Dir)
	if err := os.Mkdir(raw.Path(prefix), 0o700); err != nil {
		t.Fatal(err)
	}
	return remote{
		address:  server.Address,
		place:    func(address string) string { return server.URL(address, prefix) },
		small:    "&part_size=8MiB&connections=4",
		inFlight: 8 * 8 << 20,
		opaque:   true,
		settings: server.SFTP,
		raw:      raw,
		held:     func() int64 { return written(raw.Path(prefix)) },
		left:     func() []string { return left(t, raw) },
		objects:  func() []string { return objects(t, raw) },
		purge:    func() {},
		stop:     func() { server.Stop() },
		start: func() string {
			server = emulator.StartSSHDIn(t, dir)
			return server.Address
		},
	}
}

func fakeGCS(t *testing.T) remote {
	t.Helper()
	server := emulator.StartFakeGCSIn(t, memoryDir(t))
	bucket := server.MakeBucket("tests", fakegcs.Bucket{})
	return remote{
		address: server.Address,
		env:     []string{"GOOGLE_APPLICATION_CREDENTIALS=" + server.Credentials},
		place: func(address string) string {
			return "gs://" + bucket.Name + "/" + prefix + "?endpoint=" + url.QueryEscape("http://"+address)
		},
		small:    "&part_size=8MiB&concurrency=4",
		inFlight: 4 * 8 << 20,
		commit:   func(q fault.Request) bool { return strings.Contains(q.Target, "/compose") },
		metadata: func(q fault.Request) bool { return q.Method == "POST" && strings.Contains(q.Target, "meta%2F") },
		raw:      bucket,
		held:     server.Held,
		left:     func() []string { return left(t, bucket) },
		objects:  func() []string { return objects(t, bucket) },
		purge:    func() {},
		stop:     server.Halt,
		start: func() string {
			if err := server.Restart(); err != nil {
				t.Fatal(err)
			}
			return server.Address
		},
	}
}

// inBucket are the keys of the objects of a bucket of MinIO, a folder for each.
func inBucket(dir, bucket string) (keys []string) {
	for _, name := range files(filepath.Join(dir, bucket)) {
		if key, ok := strings.CutSuffix(name, "/xl.meta"); ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// objects are the keys of all that a place holds but parts.
func objects(t *testing.T, raw conformance.Raw) (keys []string) {
	t.Helper()
	all, err := raw.List(context.Background(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range all {
		if !strings.HasPrefix(key, "tmp/") { // where parts are
			keys = append(keys, prefix+"/"+key)
		}
	}
	return keys
}

// archived says whether a place holds an archive.
func (r remote) archived() bool {
	return slices.ContainsFunc(r.objects(), func(key string) bool { return strings.Contains(key, "/data/") })
}

// left are the keys of what a place holds that belongs to no backup.
func left(t *testing.T, raw conformance.Raw) (left []string) {
	t.Helper()
	parts, err := raw.Leftovers(context.Background(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range parts {
		left = append(left, "parts: "+name)
	}
	return append(left, orphans(objects(t, raw))...)
}

// times is how often something is tried, of n where there is time.
func (r remote) times(n int) int {
	if r.brief {
		return n / 3
	}
	return n
}

// orphans are archives without metadata.
func orphans(keys []string) (left []string) {
	for _, key := range keys {
		above, name, isData := strings.Cut(key, "data/")
		if id, _, _ := strings.Cut(name, "."); isData && !slices.Contains(keys, above+"meta/"+id+".json") {
			left = append(left, "archive: "+key)
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
	for _, r := range remotes {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			server := r.start(t)
			server.brief = r.name != remotes[0].name && os.Getenv("OFFSITE_RESUME_MIB") == ""
			test(&host{T: t, dir: memoryDir(t), env: server.env}, server)
		})
	}
}

func (h *host) proxy(r remote) *fault.Proxy {
	h.Helper()
	p, err := fault.Start(fault.Options{Upstream: r.address, Opaque: r.opaque})
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
