package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	killSource = 48 << 20 // bytes of noise in the source of a backup that is killed
	killPoints = 38       // drawn by bytes written, besides two between the commits
)

// TestKilled kills a backup with SIGKILL at moments drawn by the bytes it has
// written to its destination: nothing is listed unless it is whole, and the next
// command leaves nothing behind.
func TestKilled(t *testing.T) {
	h := newHost(t)
	h.write(h.at("source", "big"), noise(1, killSource))
	for i := range 50 {
		h.write(h.at("source", "small", fmt.Sprint(i)), noise(uint64(i), 1000))
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	draw := rand.New(rand.NewPCG(seed, 0))
	killed := 0
	for range killPoints {
		point := draw.Int64N(killSource)
		if h.killWhen(func() bool { return written(h.at("copies")) >= point }) {
			killed++
		}
		h.checkAfterKill(fmt.Sprintf("after %d bytes", point))
	}
	if killed < killPoints/2 {
		t.Errorf("%d of %d backups ended before they were killed", killPoints-killed, killPoints)
	}
}

// TestKilledBetweenCommits kills a backup when the archive is stored and the
// metadata is not, and when the metadata is and the command has not ended.
func TestKilledBetweenCommits(t *testing.T) {
	for name, c := range map[string]struct {
		dir   string
		metas int
	}{
		"between archive and metadata": {"data", 0},
		"between metadata and end":     {"meta", 1},
	} {
		t.Run(name, func(t *testing.T) {
			const tries = 100
			for range tries {
				h := newHost(t)
				h.write(h.at("source", "file"), noise(1, 1<<20))
				hit := h.killWhen(func() bool { return len(files(h.at("copies", c.dir))) > 0 })
				hit = hit && len(files(h.at("copies", "data"))) == 1 && len(files(h.at("copies", "meta"))) == c.metas
				h.checkAfterKill(name)
				if hit {
					return
				}
			}
			t.Errorf("that moment was not met in %d tries", tries)
		})
	}
}

// killWhen starts a backup and kills it when the moment has come. It says whether
// the backup was killed.
func (h *host) killWhen(now func() bool) bool {
	h.Helper()
	return h.killWhenOf(h.command("backup", "source", "--to", "copies"), now)
}

func (h *host) killWhenOf(cmd *exec.Cmd, now func() bool) bool {
	h.Helper()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		h.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	for {
		select {
		case <-ended:
			if !cmd.ProcessState.Success() {
				h.Fatalf("%v failed: %v\n%s", cmd.Args[1:], cmd.ProcessState, errs.Bytes())
			}
			return false
		default:
		}
		if now() {
			if err := cmd.Process.Kill(); err != nil {
				h.Log(err) // it has ended
			}
			<-ended
			return !cmd.ProcessState.Success()
		}
	}
}

// checkAfterKill restores all that is listed, and looks at what the next command
// leaves.
func (h *host) checkAfterKill(when string) {
	h.Helper()
	if _, err := os.Stat(h.at("copies")); err == nil {
		for _, id := range h.ids("copies") {
			h.run(0, "restore", id, "restored", "--from", "copies", "--below", h.at("source"))
			h.same(h.at("source"), h.at("restored"))
			if err := os.RemoveAll(h.at("restored")); err != nil {
				h.Fatal(err)
			}
			h.run(0, "delete", id, "--yes", "--from", "copies")
		}
	}
	h.write(h.at("next", "file"), []byte("next"))
	h.run(0, "backup", "next", "--to", "copies")
	if left := files(h.at("copies", "tmp")); len(left) > 0 {
		h.Errorf("killed %s: left in tmp: %v", when, left)
	}
	if left := files(h.at("state", "offsite", "runs")); len(left) > 0 {
		h.Errorf("killed %s: left in the state folder: %v", when, left)
	}
	data, meta := files(h.at("copies", "data")), files(h.at("copies", "meta"))
	if len(data) != len(meta) {
		h.Errorf("killed %s: archives %v, metadata %v", when, data, meta)
	}
	for _, id := range h.ids("copies") {
		h.run(0, "delete", id, "--yes", "--from", "copies")
	}
	if h.Failed() {
		h.FailNow()
	}
}

// files are all regular files below a directory.
func files(dir string) (all []string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			all = append(all, strings.TrimPrefix(path, dir+"/"))
		}
		return nil
	})
	return all
}

// written is how many bytes lie below a directory.
func written(dir string) (n int64) {
	for _, name := range files(dir) {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
			n += info.Size()
		}
	}
	return n
}
