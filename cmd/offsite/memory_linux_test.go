package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The most memory that a command may ever hold, whatever it packs or sends.
const (
	memoryBound     = 128 << 20 // packing, listing and restoring
	fileMemoryBound = 64 << 20  // sending a file, and fetching one
)

// peak runs a command and returns the most memory it held (VmHWM), in bytes.
func (h *host) peak(args ...string) (peak int64) {
	h.Helper()
	cmd := h.command(args...)
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &errs
	if err := cmd.Start(); err != nil {
		h.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil || peak == 0 {
				h.Fatalf("offsite %s: %v\n%s", strings.Join(args, " "), err, errs.Bytes())
			}
			h.Logf("%s: %d MiB", args[0], peak>>20)
			return peak
		case <-tick.C:
			peak = max(peak, highWater(cmd.Process.Pid))
		}
	}
}

func highWater(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

func (h *host) bounded(args ...string) {
	h.Helper()
	h.boundedBy(memoryBound, args...)
}

func (h *host) boundedBy(bound int64, args ...string) {
	h.Helper()
	if peak := h.peak(args...); peak > bound {
		h.Errorf("offsite %s held %d MiB, the bound is %d", args[0], peak>>20, bound>>20)
	}
}

// TestMemoryOverNetwork sends a large file and fetches it, and packs and restores
// it: of OFFSITE_MEMORY_GIB, or a GiB, as in TestMemoryOfOneLargeFile.
func TestMemoryOverNetwork(t *testing.T) {
	each(t, func(h *host, r remote) {
		h.dir = h.TempDir() // only the server's copy is in memory
		place := r.place(r.address)
		h.writeLarge(h.at("source", "large"), int64(r.times(3))*memoryGiB(h.T)<<30/3)
		bound := int64(fileMemoryBound)
		if r.opaque { // SSH keeps windows and copies for each connection: more than 64 MiB
			bound = memoryBound
		}
		h.boundedBy(bound, "upload", "source/large", "--to", place)
		id := h.ids(place)[0]
		h.boundedBy(bound, "download", id, "fetched", "--from", place)
		if out, err := exec.Command("cmp", h.at("source", "large"), h.at("fetched")).CombinedOutput(); err != nil {
			h.Errorf("%s", out)
		}
		if err := os.Remove(h.at("fetched")); err != nil {
			h.Fatal(err)
		}
		h.run(0, "delete", id, "--yes", "--from", place)
		h.bounded("backup", "source", "--to", place)
		h.bounded("restore", "latest", "restored", "--from", place, "--below", h.at("source"))
		h.same(h.at("source"), h.at("restored"))
	})
}

func TestMemoryOfOneLargeFile(t *testing.T) {
	h := newHost(t)
	h.writeLarge(h.at("source", "large"), memoryGiB(t)<<30)
	h.bounded("backup", "source", "--to", "copies")
	id := h.ids("copies")[0]
	h.bounded("restore", id, "restored", "--from", "copies", "--below", h.at("source"))
	h.same(h.at("source"), h.at("restored"))
}

func memoryGiB(t *testing.T) int64 {
	s := os.Getenv("OFFSITE_MEMORY_GIB")
	if s == "" {
		return 1
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// writeLarge writes a file of which every second MiB is noise.
func (h *host) writeLarge(path string, size int64) {
	h.Helper()
	h.write(path, nil)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		h.Fatal(err)
	}
	block := make([]byte, 2<<20)
	random := rand.NewChaCha8([32]byte{1})
	for n := int64(0); n < size; n += int64(len(block)) {
		random.Read(block[:1<<20])
		if _, err := f.Write(block); err != nil {
			h.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		h.Fatal(err)
	}
}

func TestMemoryOfManyFiles(t *testing.T) {
	// In memory, where making them does not take longer than packing them.
	dir, err := os.MkdirTemp("/dev/shm", "offsite-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &host{T: t, dir: dir}
	const folders, each = 400, 500
	for i := range folders {
		dir := h.at("source", fmt.Sprintf("folder-%03d", i))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for j := range each {
			path := filepath.Join(dir, fmt.Sprintf("file-%03d", j))
			if err := os.WriteFile(path, []byte(path), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.bounded("backup", "source", "--to", "copies")
	id := h.ids("copies")[0]
	h.bounded("ls", id, "--from", "copies")
	name := h.at("source", "folder-123", "file-456")
	h.bounded("restore", id, "one", "--from", "copies", "--file", name)
	if doc, err := os.ReadFile(h.at("one", name)); string(doc) != name {
		t.Errorf("one file: %q, %v", doc, err)
	}
	h.bounded("restore", id, "restored", "--from", "copies", "--below", h.at("source"))
	h.same(h.at("source"), h.at("restored"))
}
