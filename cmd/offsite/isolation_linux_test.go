package main

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/offsite-backup/offsite/conformance/fault"
)

func isPart(q fault.Request) bool {
	return q.Method == "PUT" && strings.Contains(q.Target, "partNumber=")
}

// TestServerStops at each stage of an upload. The directory has the backup meanwhile,
// and the application goes on; a recover sends what is missing when the server runs
// again.
func TestServerStops(t *testing.T) {
	for when, c := range map[string]struct {
		json bool
		hold func(p *pair) *fault.Rule // the request at which it stops; nil: before the run
		met  func(p *pair) bool        // what must be true then
		sent func(held, n int64) int64 // most bytes that are sent later, of n, where it had parts of held
	}{
		"before": {
			sent: func(_, n int64) int64 { return n },
		},
		"in the middle of the archive": {
			json: true,
			hold: func(*pair) *fault.Rule { return &fault.Rule{Match: isPart, Skip: 2, Fault: fault.StallUp(1 << 20)} },
			met:  func(p *pair) bool { return p.remote.held() > 0 },
			sent: func(held, n int64) int64 { return n - held },
		},
		"between archive and metadata": {
			hold: func(p *pair) *fault.Rule { return &fault.Rule{Match: p.remote.metadata, Fault: fault.StallUp(0)} },
			met:  func(p *pair) bool { return len(p.remote.objects()) == 1 },
			sent: func(_, _ int64) int64 { return 0 },
		},
	} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, c.json)
			goOn := p.gate("1m")
			var rule *fault.Rule
			if c.hold == nil {
				p.remote.stop()
			} else {
				rule = c.hold(p)
				p.proxy.Arm(rule)
			}
			run := p.begin("run", "app")
			if rule != nil {
				p.until(run, "the moment to stop", func() bool { return rule.Fired() > 0 && c.met(p) })
				p.remote.stop()
				p.proxy.Arm()
				rule.Release()
			}
			id := p.meanwhile(run)
			goOn()
			p.ended(run, 3)
			p.degraded(run, id, "disk", "bucket", "unavailable: .+")

			held, before := p.remote.held(), p.proxy.Counts().Up
			p.again()
			p.heal(id, "bucket")
			size := written(p.at("disk", "data"))
			if got, most := p.proxy.Counts().Up-before, c.sent(held, size)+slack; got > most {
				t.Errorf("%d bytes were sent by the recover, want at most %d: the server had parts of %d, of %d", got, most, held, size)
			}
		})
	}
}

// TestServerStopsAfter the upload, while the run is not over: that is none of its
// business any more.
func TestServerStopsAfter(t *testing.T) {
	p := newPair(t, true)
	goOn := p.gate("1m")
	run := p.begin("run", "app")
	p.until(run, "the end of the upload", func() bool { return p.happened() == "pre post after" })
	p.remote.stop()
	goOn()
	p.ended(run, 0)
	id := p.ids(p.at("disk"))[0]
	p.fine(run, id)
	p.again()
	p.whole(id)
}

// TestServerStalls in the middle of the archive: it takes some bytes of each part, and
// no more.
func TestServerStalls(t *testing.T) {
	stalled := func(t *testing.T, json bool, stall string) (*pair, *fault.Rule, *background, func()) {
		t.Parallel()
		p := newPair(t, json)
		goOn := p.gate(stall)
		rule := &fault.Rule{Match: isPart, Times: fault.Always, Fault: fault.StallUp(1 << 20)}
		p.proxy.Arm(rule)
		run := p.begin("run", "app")
		p.until(run, "a part that stalls", func() bool { return rule.Fired() > 0 })
		return p, rule, run, goOn
	}
	t.Run("for a while", func(t *testing.T) {
		p, rule, run, goOn := stalled(t, false, "10m")
		id := p.meanwhile(run)
		rule.Release()
		goOn()
		p.ended(run, 0)
		p.fine(run, id)
		p.whole(id)
	})
	t.Run("for ever", func(t *testing.T) {
		p, _, run, goOn := stalled(t, true, "5s")
		id := p.meanwhile(run)
		goOn()
		p.ended(run, 3)
		p.degraded(run, id, "disk", "bucket", "unavailable: tried .+: no answer, and not a byte moved, for 5s")
		p.proxy.Arm()
		p.heal(id, "bucket")
	})
}

// TestDirectoryIsFull: the server has the backup, the application goes on while it is
// sent, and a recover fills the directory when there is room.
func TestDirectoryIsFull(t *testing.T) {
	for name, json := range map[string]bool{"for people": false, "for scripts": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, json)
			room := p.mount("disk")
			room("8m")
			rule := &fault.Rule{Match: p.remote.metadata, Fault: fault.StallUp(0)}
			p.proxy.Arm(rule)
			run := p.begin("run", "app")
			p.until(run, "the application went on", func() bool { return p.happened() == "pre post" && rule.Fired() > 0 })
			rule.Release()
			p.ended(run, 3)
			id := p.ids(p.remote.place(p.remote.address))[0]
			p.degraded(run, id, "bucket", "disk", "no space: .+")
			p.restored(p.remote.place(p.remote.address))

			p.json = false
			still := p.begin("recover")
			p.ended(still, 3)
			p.lines(still.out.String(), "earlier "+id+`: disk: pending: will be sent by the next run or "offsite recover"`, "recovered: 0 of 1 backup sent")
			if told := still.errs.String(); !strings.Contains(told, "disk: upload: "+id+": no space: ") {
				p.Errorf("recover says not why something is left:\n%s", told)
			}
			p.json = json
			room("64m")
			p.heal(id, "disk")
		})
	}
}

// mount puts a file system of its own over a new folder. room says how large it is.
func (h *host) mount(name string) (room func(size string)) {
	h.Helper()
	dir := h.at(name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		h.Fatal(err)
	}
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700")
	if errors.Is(err, unix.EPERM) && os.Getenv("CI") != "true" {
		h.Skip("only root may mount: it is not proven here what becomes of a backup when a disk is full")
	}
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			h.Error(err)
		}
	})
	return func(size string) {
		h.Helper()
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size="+size); err != nil {
			h.Fatal(err)
		}
	}
}
