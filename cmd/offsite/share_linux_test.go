package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestArchiveIsTheSpool where both lie on one file system, while another agent is
// still to get it. Then each has a file of its own.
func TestArchiveIsTheSpool(t *testing.T) {
	h := newHost(t)
	h.write(h.at("app", "notes"), noise(1, 3<<20))
	h.write(h.at("mounted"), nil) // a file where the second disk should be
	h.write(h.at("offsite.yaml"), fmt.Appendf(nil, `
agents:
  disk: {local: %[1]s/copies}
  away: {local: %[1]s/mounted/copies}
jobs:
  app: {paths: [%[1]s/app], to: [disk, away], copies: 1}
`, h.dir))
	h.run(3, "run", "app")
	id := h.ids(h.at("copies"))[0]
	archive := filepath.Join("data", id+".tar.zst")
	spool := h.stat(h.at("state", "offsite", "runs", id, "archive"))
	if disk := h.stat(h.at("copies", archive)); !os.SameFile(spool, disk) || disk.Mode() != 0o600 {
		t.Errorf("the disk has a copy, of mode %v", disk.Mode())
	}
	if err := os.Remove(h.at("mounted")); err != nil {
		t.Fatal(err)
	}
	h.run(0, "recover")
	if _, err := os.Lstat(h.at("state", "offsite", "runs", id)); !os.IsNotExist(err) {
		t.Errorf("the archive still waits: %v", err)
	}
	for _, place := range []string{h.at("copies"), h.at("mounted", "copies")} {
		info := h.stat(filepath.Join(place, archive))
		if n := info.Sys().(*syscall.Stat_t).Nlink; n != 1 {
			t.Errorf("%s has a file with %d names", place, n)
		}
		to := filepath.Join(t.TempDir(), "restored")
		h.run(0, "restore", "latest", to, "--from", place, "--below", h.at("app"))
		h.same(h.at("app"), to)
	}
}

func (h *host) stat(path string) os.FileInfo {
	h.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		h.Fatal(err)
	}
	return info
}
