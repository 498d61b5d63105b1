package main

import (
	crand "crypto/rand"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// localInFlight is most of what a directory gets at once and may get again: parts of
// 32 MiB by two workers.
const localInFlight = 2 * 32 << 20

// TestResumeLocal is TestResume at a directory, where the system counts what is
// written.
func TestResumeLocal(t *testing.T) {
	h := newHost(t) // on a disk: memory is not counted
	size := resumeSize(t, remote{})
	h.noise("file.bin", size)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	draw := rand.New(rand.NewPCG(seed, 0))
	killed := 0
	for i := range 10 {
		percent := 5 + draw.Int64N(91)
		args := []string{"upload", "file.bin", "--to", "copies"}
		forgets := i%2 == 1
		if forgets {
			args = append(args, "--id", "by-hand-"+strings.ToLower(crand.Text()))
		}
		first := h.command(args...)
		if h.killWhenOf(first, func() bool { return written(h.at("copies")) >= size*percent/100 }) {
			killed++
		}
		if ids := h.ids("copies"); len(ids) > 0 && !first.ProcessState.Success() {
			h.fetched(ids[0])
		}
		if forgets {
			h.forget()
		}
		second := h.command(args...)
		if out, err := second.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if sent := output(first) + output(second); sent > size+localInFlight+slack {
			t.Errorf("killed with %d %%: %d bytes were written in all, of %d", percent, sent, size)
		}
		ids := h.ids("copies")
		if len(ids) != 1 {
			t.Fatalf("%q are listed", ids)
		}
		h.fetched(ids[0])
		if left := files(h.at("copies", "tmp")); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
		h.run(0, "delete", ids[0], "--yes", "--from", "copies")
		h.forget()
	}
	if killed < 7 {
		t.Errorf("%d of 10 uploads were killed", killed)
	}
}

// output is how many bytes a command has written to disks.
func output(cmd *exec.Cmd) int64 {
	const block = 512
	return cmd.ProcessState.SysUsage().(*syscall.Rusage).Oublock * block
}

// fetched compares a backup of the directory with the file.
func (h *host) fetched(id string) {
	h.Helper()
	h.run(0, "download", id, "fetched", "--from", "copies")
	if out, err := exec.Command("cmp", h.at("file.bin"), h.at("fetched")).CombinedOutput(); err != nil {
		h.Fatalf("%s", out)
	}
	if err := os.Remove(h.at("fetched")); err != nil {
		h.Fatal(err)
	}
}
