package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/archive"
)

func TestTrack(t *testing.T) {
	began := time.Unix(1e9, 0)
	var tr track
	if got := tr.status(began); got != "0 B" {
		t.Errorf("before anything: %q", got)
	}
	// A first event has what an earlier try stored: that is no rate.
	tr.update(core.Progress{Done: 100 << 20, Total: 200 << 20}, began)
	if got := tr.status(began); got != "100.0 MiB of 200.0 MiB" {
		t.Errorf("at first: %q", got)
	}
	for s := range 20 {
		tr.update(core.Progress{Done: int64(101+s) << 20, Total: 200 << 20}, began.Add(time.Duration(s+1)*time.Second))
	}
	if got := tr.status(began.Add(20 * time.Second)); got != "120.0 MiB of 200.0 MiB, 1.0 MiB/s, 1m20s left" {
		t.Errorf("in the middle: %q", got)
	}
	// An older event that comes late takes nothing back.
	tr.update(core.Progress{Done: 50 << 20, Total: 0}, began.Add(20*time.Second))
	if done, total := tr.position(); done != 120<<20 || total != 200<<20 {
		t.Errorf("went back to %d of %d", done, total)
	}
	// Nothing for a long time: the rate falls.
	if got := tr.status(began.Add(39 * time.Second)); got != "120.0 MiB of 200.0 MiB, 512.0 KiB/s, 2m40s left" {
		t.Errorf("stalled: %q", got)
	}
	tr.update(core.Progress{Done: 200 << 20, Total: 200 << 20}, began.Add(40*time.Second))
	if got := tr.status(began.Add(40 * time.Second)); got != "200.0 MiB" {
		t.Errorf("in the end: %q", got)
	}
}

func TestTrackWithoutTotal(t *testing.T) {
	began := time.Unix(1e9, 0)
	var tr track
	tr.update(core.Progress{Done: 1}, began)
	tr.update(core.Progress{Done: 1 + 10<<20}, began.Add(10*time.Second))
	if got := tr.status(began.Add(10 * time.Second)); got != "10.0 MiB, 1.0 MiB/s" {
		t.Errorf("%q", got)
	}
}

func TestLinesNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		l := newLines(&console{w: &buf}, time.Now)
		for s := range 70 {
			l.update(core.Progress{Agent: "near", Done: int64(s+1) << 20, Total: 100 << 20})
			l.update(core.Progress{Agent: "far", Done: int64(s+1) << 10, Total: 100 << 20})
			time.Sleep(time.Second)
			synctest.Wait()
			if s == 28 && buf.Len() > 0 {
				t.Errorf("a short run writes %q", buf.String())
			}
		}
		l.close()
		got := strings.Split(strings.TrimSpace(buf.String()), "\n")
		if len(got) != 4 {
			t.Fatalf("wrote in 70 seconds:\n%s", buf.String())
		}
		for i, prefix := range []string{
			"offsite: near: 30.0 MiB of 100.0 MiB, 972.8 KiB/s, 1m14s left", "offsite: far: 30.0 KiB of 100.0 MiB, ",
			"offsite: near: 60.0 MiB of 100.0 MiB, 972.8 KiB/s, 42s left", "offsite: far: 60.0 KiB of 100.0 MiB, ",
		} {
			if !strings.HasPrefix(got[i], prefix) {
				t.Errorf("%q does not begin with %q", got[i], prefix)
			}
		}
	})
}

func TestOdditiesAreBounded(t *testing.T) {
	for _, c := range []struct {
		name           string
		quiet, verbose bool
		want           int
	}{{"plain", false, false, odditiesMost + 1}, {"verbose", false, true, 100}, {"quiet", true, false, 0}} {
		a, _, errs := newApp(nil)
		a.quiet, a.verbose = c.quiet, c.verbose
		o := &oddities{app: a}
		for i := range 100 {
			o.report(archive.Oddity{Path: fmt.Sprint(i), What: "socket"})
		}
		o.close()
		if got := strings.Count(errs.String(), "\n"); got != c.want {
			t.Errorf("%s: %d lines, not %d", c.name, got, c.want)
		}
		if c.name == "plain" && !strings.Contains(errs.String(), "and 80 more") {
			t.Errorf("nothing says that there is more:\n%s", errs)
		}
	}
}
