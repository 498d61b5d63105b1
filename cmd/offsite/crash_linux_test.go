package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// crashPoints is how many moments are drawn besides those after each step of the
// ledger: OFFSITE_CRASH_POINTS, or fewer.
func crashPoints(t *testing.T) int {
	n := 15
	if s := os.Getenv("OFFSITE_CRASH_POINTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

const crashConfig = `agents:
  disk: {local: %[1]s/disk}
  bucket: {s3: {bucket: tests, prefix: app, region: us-east-1, endpoint: "http://%[2]s", part_size: 5MiB}}
jobs:
  app:
    paths: [%[1]s/source]
    hooks:
      - name: dump
        command: {pre: [sh, -c, 'echo pre dump >> %[1]s/log; echo rows > "$1/rows"', dump, "{dir}"], post: [sh, -c, 'echo post dump >> %[1]s/log']}
      - name: pause
        command: {pre: [sh, -c, 'echo pre pause >> %[1]s/log; touch %[1]s/paused; sleep 0.1'], post: [sh, -c, 'rm -f %[1]s/paused; echo post pause >> %[1]s/log']}
    to: [disk, bucket]
`

// TestCrash kills a run with two hooks to two places after each step of its ledger,
// and at drawn moments. After the next recover nothing is paused, what is listed is
// whole, nothing is left, an archive that was packed is everywhere, and the next
// run succeeds.
func TestCrash(t *testing.T) {
	r := minIO(t)
	h := &host{T: t, dir: memoryDir(t), env: r.env}
	h.write(h.at("source", "big"), noise(1, 24<<20))
	for i := range 20 {
		h.write(h.at("source", "small", fmt.Sprint(i)), noise(uint64(i), 1000))
	}
	h.write(h.at("offsite.yaml"), fmt.Appendf(nil, crashConfig, h.dir, r.address))
	c := &crash{host: h, remote: r}

	began := time.Now()
	c.runWell()
	usual := time.Since(began)
	steps := len(c.lastLedger())
	killed := 0
	for k := 1; k <= steps; k++ {
		if c.kill(func() bool { return c.ledgerLines() >= k }) {
			killed++
		}
		c.after(fmt.Sprintf("after step %d", k))
	}
	if killed < steps/2 {
		t.Errorf("%d of %d runs were killed at a step", killed, steps)
	}
	seed := rand.Uint64()
	t.Logf("seed %d; a run takes %v and has %d steps", seed, usual, steps)
	draw := rand.New(rand.NewPCG(seed, 0))
	for range crashPoints(t) {
		wait := time.Duration(draw.Int64N(int64(usual)))
		moment := time.NewTimer(wait)
		c.kill(func() bool {
			select {
			case <-moment.C:
				return true
			default:
				return false
			}
		})
		c.after(fmt.Sprintf("after %v", wait))
	}
}

// A crash is a host whose runs are killed.
type crash struct {
	*host
	remote remote
}

func (c *crash) kill(now func() bool) bool {
	c.Helper()
	if err := os.WriteFile(c.at("log"), nil, 0o600); err != nil {
		c.Fatal(err)
	}
	return c.killWhenOf(c.command("run", "app"), now)
}

func (c *crash) runWell() {
	c.Helper()
	c.run(0, "run", "app")
}

// ledgerLines is how many steps the run that is under way has taken.
func (c *crash) ledgerLines() int {
	found, _ := filepath.Glob(c.at("state", "offsite", "runs", "*", "ledger.jsonl"))
	lines := 0
	for _, path := range found {
		doc, _ := os.ReadFile(path)
		lines = max(lines, bytes.Count(doc, []byte("\n")))
	}
	return lines
}

func (c *crash) lastLedger() [][]byte {
	c.Helper()
	found, err := filepath.Glob(c.at("state", "offsite", "ledger", "*.jsonl"))
	if err != nil || len(found) == 0 {
		c.Fatalf("no ledger is kept: %v", err)
	}
	doc, err := os.ReadFile(slices.Max(found))
	if err != nil {
		c.Fatal(err)
	}
	return bytes.Split(bytes.TrimSpace(doc), []byte("\n"))
}

// after looks at what a recover makes of a run that was killed.
func (c *crash) after(when string) {
	c.Helper()
	packed := c.packed()
	c.run(0, "recover")
	c.undone(when)
	ids := c.ids(c.at("disk"))
	if other := c.ids(c.remote.place(c.remote.address)); !slices.Equal(ids, other) {
		c.Errorf("%s: disk has %q, the bucket %q", when, ids, other)
	}
	if packed != "" && !slices.Contains(ids, packed) {
		c.Errorf("%s: %s was packed and is nowhere", when, packed)
	}
	c.restorable(when, ids)
	c.nothingLeft(when)
	c.runWell()
	for _, id := range c.ids(c.at("disk")) {
		c.run(0, "delete", id, "--yes")
	}
	if c.Failed() {
		c.FailNow()
	}
}

// packed is the id of a run that was killed with its archive packed, or "".
func (c *crash) packed() string {
	found, _ := filepath.Glob(c.at("state", "offsite", "runs", "*", "backup.json"))
	if len(found) == 0 {
		return ""
	}
	return filepath.Base(filepath.Dir(found[0]))
}

// undone demands that each post ran whose pre began, and in reverse.
func (c *crash) undone(when string) {
	c.Helper()
	if _, err := os.Stat(c.at("paused")); err == nil {
		c.Errorf("%s: the application is still paused", when)
	}
	log, err := os.ReadFile(c.at("log"))
	if err != nil {
		c.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	last := func(line string) int {
		for i := len(lines) - 1; i >= 0; i-- {
			if lines[i] == line {
				return i
			}
		}
		return -1
	}
	for _, hook := range []string{"dump", "pause"} {
		if pre, post := last("pre "+hook), last("post "+hook); pre > post {
			c.Errorf("%s: no post of %s after its pre: %q", when, hook, lines)
		}
	}
	if last("pre pause") >= 0 && last("post pause") > last("post dump") {
		c.Errorf("%s: the posts did not run in reverse: %q", when, lines)
	}
}

func (c *crash) restorable(when string, ids []string) {
	c.Helper()
	for _, from := range []string{c.at("disk"), c.remote.place(c.remote.address)} {
		for _, id := range ids {
			c.run(0, "restore", id, "restored", "--from", from, "--below", c.at("source"))
			c.same(c.at("source"), c.at("restored"))
			if err := os.RemoveAll(c.at("restored")); err != nil {
				c.Fatal(err)
			}
			if c.Failed() {
				c.Fatal(when)
			}
		}
	}
}

func (c *crash) nothingLeft(when string) {
	c.Helper()
	left := c.remote.left()
	left = append(left, files(c.at("disk", "tmp"))...)
	left = append(left, orphans(files(c.at("disk")))...)
	left = append(left, files(c.at("state", "offsite", "runs"))...)
	if len(left) > 0 {
		c.Errorf("%s: left: %q", when, left)
	}
}
