package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"testing"
)

// TestUploadRace lets two processes upload one id at once, fifty times: one wins,
// and the bytes never mix. With equal bytes both succeed.
func TestUploadRace(t *testing.T) {
	each(t, func(h *host, r remote) {
		place := r.place(r.address)
		h.noise("a", 12<<20)
		h.write(h.at("b"), slices.Concat(noise(2, 12<<20), []byte("one more")))
		for round := range r.times(50) {
			files := []string{"a", "b"}
			if round%2 == 1 {
				files = []string{"a", "a"}
			}
			h.raceOnce(round, place+r.small, files)
			if left := r.left(); len(left) > 0 {
				h.Fatalf("round %d: left: %q", round, left)
			}
		}
	})
}

func (h *host) raceOnce(round int, place string, files []string) {
	h.Helper()
	id := fmt.Sprintf("race-%d", round)
	var cmds []*exec.Cmd
	var said [2]bytes.Buffer
	for i, file := range files {
		cmd := h.command("upload", file, "--id", id, "--to", place, "--state", h.at(fmt.Sprint("state-", i)))
		cmd.Stderr = &said[i]
		if err := cmd.Start(); err != nil {
			h.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	winners := 0
	winner := ""
	for i, cmd := range cmds {
		_ = cmd.Wait() // the code says it
		switch cmd.ProcessState.ExitCode() {
		case 0:
			winners++
			winner = files[i]
		case 1:
		default:
			h.Fatalf("round %d: %v\n%s", round, cmd.ProcessState, said[i].Bytes())
		}
	}
	want := 1
	if files[0] == files[1] {
		want = 2
	}
	if winners != want {
		h.Fatalf("round %d: %d of %q succeeded\n%s\n%s", round, winners, files, said[0].Bytes(), said[1].Bytes())
	}
	h.run(0, "download", id, "fetched-"+id, "--from", place)
	if out, err := exec.Command("cmp", h.at(winner), h.at("fetched-"+id)).CombinedOutput(); err != nil {
		h.Fatalf("round %d: %s", round, out)
	}
}
