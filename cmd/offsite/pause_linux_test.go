package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const pauseConfig = `agents:
  disk: {local: %[1]s/disk}
  bucket: {s3: {bucket: tests, prefix: app, region: us-east-1, endpoint: "http://%[2]s", part_size: 5MiB}}
jobs:
  app:
    paths: [%[1]s/source]
    hooks:
      - name: first
        command: {pre: [sh, -c, 'date "+pre-first %%s%%N" >> %[1]s/log'], post: [sh, -c, 'date "+post-first %%s%%N" >> %[1]s/log']}
      - name: second
        command: {pre: [sh, -c, 'date "+pre-second %%s%%N" >> %[1]s/log'], post: [sh, -c, 'date "+post-second %%s%%N" >> %[1]s/log']}
    max_pause: %[3]v
    to: [disk, bucket]
    copies: 1
`

// TestPauseIsOver while files are packed, of which something was sent by then: the
// posts run while they are still read, the run fails, and nothing of it is left
// anywhere. So also where a file system does not answer, from which no program can be
// called back. That posts run at once is core's to show, in a time of its own.
func TestPauseIsOver(t *testing.T) {
	for name, c := range map[string]struct {
		script bool
		pace   time.Duration // of each MiB; 0: none is read before the posts have run
	}{
		"slow": {false, 2 * time.Second},
		"hung": {true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for pause := 2 * time.Second; !pauseOver(t, c.script, c.pace, pause); pause *= 2 {
				if pause > time.Minute {
					t.Fatalf("nothing was sent within %v", pause)
				}
			}
		})
	}
}

// pauseOver says whether anything was sent before the pause was over: else the test
// says too little.
func pauseOver(t *testing.T, script bool, pace, pause time.Duration) (sent bool) {
	p := newPair(t, script)
	p.noise("source/more", 24<<20) // than one part of any place
	p.write(p.at("source", "slow"), make([]byte, 100<<20))
	if err := os.Mkdir(p.at("disk"), 0o700); err != nil { // else there is no place to list
		p.Fatal(err)
	}
	p.write(p.at("offsite.yaml"), fmt.Appendf(nil, pauseConfig, p.dir, p.proxy.Addr(), pause))
	release := p.slow(p.at("source", "slow"), pace)
	run := p.begin("run", "app", "--spool", p.at("spool"))
	p.until(run, "the posts ran", func() bool {
		parts := p.remote.held() > 0
		hooks := len(p.stamps())
		sent = sent || parts && hooks == 2
		return hooks == 4
	})
	release()
	p.ended(run, 1)

	stamps, began := p.stamps(), p.paused()
	if got := p.order(); got != "pre-first pre-second post-second post-first" {
		p.Errorf("happened %q", got)
	}
	for _, post := range []string{"post-first", "post-second"} {
		p.Logf("%s ran %v after the pause was over", post, stamps[post].Sub(began)-pause)
	}
	p.failed(run, fmt.Sprintf("the application was held for %v: max_pause is over", pause))
	if got := p.run(0, "list", "--json"); got != "" {
		p.Errorf("listed: %s", got)
	}
	if left := slices.Concat(files(p.at("disk")), p.remote.objects(), files(p.at("spool"))); len(left) > 0 {
		p.Errorf("left: %q", left)
	}
	p.clean()
	if told := p.run(0, "recover"); told != "recovered: nothing was left to be done\n" {
		p.Errorf("recover says %q", told)
	}
	return sent
}

// paused is when the first hook was about to be begun, by the ledger of the only run.
func (p *pair) paused() time.Time {
	p.Helper()
	kept := files(p.at("state", "offsite", "ledger"))
	if len(kept) != 1 {
		p.Fatalf("the ledgers are %q", kept)
	}
	doc, err := os.ReadFile(p.at("state", "offsite", "ledger", kept[0]))
	if err != nil {
		p.Fatal(err)
	}
	for line := range bytes.Lines(doc) {
		var s struct {
			At   time.Time
			Step string
		}
		if err := json.Unmarshal(line, &s); err != nil {
			p.Fatalf("%s: %v", line, err)
		}
		if s.Step == "owes" {
			return s.At
		}
	}
	p.Fatalf("no hook was begun:\n%s", doc)
	return time.Time{}
}

// stamps are when each hook ran.
func (p *pair) stamps() map[string]time.Time {
	p.Helper()
	all := map[string]time.Time{}
	words := strings.Fields(p.happened())
	for i := 0; i+1 < len(words); i += 2 {
		if at, err := strconv.ParseInt(words[i+1], 10, 64); err == nil && len(words[i+1]) == 19 {
			all[words[i]] = time.Unix(0, at)
		}
	}
	return all
}

// order is in which the hooks ran.
func (p *pair) order() string {
	var names []string
	for i, word := range strings.Fields(p.happened()) {
		if i%2 == 0 {
			names = append(names, word)
		}
	}
	return strings.Join(names, " ")
}

// failed looks at what a run says that failed.
func (p *pair) failed(run *background, why string) {
	p.Helper()
	if told := run.errs.String(); strings.Count(told, why) != 1 {
		p.Errorf("says not once why it failed, %q:\n%s", why, told)
	}
	if !p.json {
		p.lines(run.out.String(), "app: disk: skipped: there was nothing to store", "app: bucket: skipped: there was nothing to store", `app: failed: [0-9A-Za-z-]+, stored at 0 of 2 places in .+`)
		return
	}
	got := p.report(run.out.Bytes())
	if got.Outcome != "failed" || got.Error != why || got.Agents["disk"] != "skipped" || got.Agents["bucket"] != "skipped" || len(got.Agents) != 2 {
		p.Errorf("says %s", run.out.Bytes())
	}
}

// slow makes each read of a file wait for pace, or, where that is 0, for ever, until
// release is called: the kernel asks this process about each (fanotify(7)).
func (h *host) slow(path string, pace time.Duration) (release func()) {
	h.Helper()
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_CLOEXEC)
	if errors.Is(err, unix.EPERM) && os.Getenv("CI") != "true" {
		h.Skip("only root may hold reads up: it is not proven here that posts run when max_pause is over")
	}
	if err == nil {
		err = unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_ACCESS_PERM, unix.AT_FDCWD, path)
	}
	if err != nil {
		h.Fatal(err)
	}
	group, free, ended := os.NewFile(uintptr(fd), "fanotify"), make(chan struct{}), make(chan struct{})
	release = sync.OnceFunc(func() { close(free) })
	go func() {
		defer close(ended)
		h.let(group, func() {
			var turn <-chan time.Time
			if pace > 0 {
				turn = time.After(pace)
			}
			select {
			case <-turn:
			case <-free:
			}
		})
	}()
	h.Cleanup(func() {
		release()
		_ = group.Close() // only read, and answered
		<-ended
	})
	return release
}

// let answers each question of a group after wait, until the group is closed.
func (h *host) let(group *os.File, wait func()) {
	buf := make([]byte, 4<<10)
	for {
		n, err := group.Read(buf)
		if err != nil {
			return
		}
		for questions := bytes.NewReader(buf[:n]); questions.Len() > 0; {
			var q unix.FanotifyEventMetadata
			if err := binary.Read(questions, binary.NativeEndian, &q); err != nil {
				h.Error(err)
				return
			}
			wait()
			yes := unix.FanotifyResponse{Fd: q.Fd, Response: unix.FAN_ALLOW}
			if err := errors.Join(binary.Write(group, binary.NativeEndian, yes), unix.Close(int(q.Fd))); err != nil {
				h.Error(err)
				return
			}
		}
	}
}
