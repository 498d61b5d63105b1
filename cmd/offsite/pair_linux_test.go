package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/offsite-backup/offsite/conformance/fault"
)

// pairSize is of noise in the source: some parts of the server's, and more than the
// full disk has.
const pairSize = 24 << 20

const pairConfig = `agents:
  disk: {local: %[1]s/disk}
  bucket: {s3: {bucket: tests, prefix: app, region: us-east-1, endpoint: "http://%[2]s", part_size: 5MiB}, stall: %[3]s, retry: 10s}
jobs:
  app:
    paths: [%[1]s/source]
    hooks:
      - name: pause
        command: {pre: [sh, -c, 'echo pre >> %[1]s/log'], post: [sh, -c, 'echo post >> %[1]s/log']}
      - name: tell
        command: {after: [sh, -c, '%[4]s']}
    to: [bucket, disk]
    copies: 1
`

// A pair is a host with a job that goes to a directory and to a server behind a
// proxy, one of which will be away. What its hooks do stands in the file log.
type pair struct {
	*host
	remote remote
	proxy  *fault.Proxy
	json   bool // whether the result is read by a script
}

func newPair(t *testing.T, json bool) *pair {
	t.Helper()
	r := minIO(t)
	h := &host{T: t, dir: memoryDir(t), env: r.env}
	p := &pair{host: h, remote: r, proxy: h.proxy(r), json: json}
	h.noise("source/big", pairSize)
	h.write(h.at("source", "small"), []byte("a note"))
	p.configure("1m", "true")
	return p
}

// configure says how long the server may say nothing, and what the shell does at the
// end of a run.
func (p *pair) configure(stall, after string) {
	p.Helper()
	p.write(p.at("offsite.yaml"), fmt.Appendf(nil, pairConfig, p.dir, p.proxy.Addr(), stall, after))
}

// gate is configure, of a run that is not over before goOn is called: its last hook
// says "after", and waits.
func (p *pair) gate(stall string) (goOn func()) {
	p.Helper()
	path := p.at("gate")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		p.Fatal(err)
	}
	gate, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { gate.Close() })
	p.configure(stall, "echo after >> "+p.at("log")+"; read x < "+path)
	return func() {
		p.Helper()
		if _, err := gate.WriteString("go on\n"); err != nil {
			p.Fatal(err)
		}
	}
}

// A background is a command that runs.
type background struct {
	*exec.Cmd
	out, errs bytes.Buffer  // read after ended
	over      chan struct{} // closed when it has ended
}

// begin starts a command, whose result is JSON where a script reads it.
func (p *pair) begin(args ...string) *background {
	p.Helper()
	if p.json {
		args = append(args, "--json")
	}
	b := &background{Cmd: p.command(args...), over: make(chan struct{})}
	b.Stdout, b.Stderr = &b.out, &b.errs
	if err := b.Start(); err != nil {
		p.Fatal(err)
	}
	go func() {
		defer close(b.over)
		_ = b.Wait() // the code says it
	}()
	p.Cleanup(func() {
		_ = b.Process.Kill() // it has ended, unless the test failed
		<-b.over
	})
	return b
}

// patience is how long anything is waited for that must come.
const patience = 3 * time.Minute

// until waits for what must have become true when b ends.
func (p *pair) until(b *background, what string, is func() bool) {
	p.Helper()
	tick, late := time.NewTicker(5*time.Millisecond), time.NewTimer(patience)
	defer tick.Stop()
	defer late.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-b.over:
			if is() {
				return
			}
			p.Fatalf("%v ended before %s: %v\n%s%s", b.Args[1:], what, b.ProcessState, b.out.Bytes(), b.errs.Bytes())
		case <-late.C:
			p.Fatalf("in %v not: %s", patience, what)
		}
	}
}

// ended waits for the end of b, which must be with a code.
func (p *pair) ended(b *background, code int) {
	p.Helper()
	select {
	case <-b.over:
	case <-time.After(patience):
		p.Fatalf("%v has not ended in %v", b.Args[1:], patience)
	}
	if got := b.ProcessState.ExitCode(); got != code {
		p.Fatalf("%v: exit %d, want %d\n%s%s", b.Args[1:], got, code, b.out.Bytes(), b.errs.Bytes())
	}
}

// meanwhile demands that while the run is not over, which a gate holds, the directory
// has the backup, and the application has gone on.
func (p *pair) meanwhile(run *background) (id string) {
	p.Helper()
	p.until(run, "the directory had the backup and the application went on", func() bool {
		return strings.HasPrefix(p.happened(), "pre post") && len(files(p.at("disk", "meta"))) == 1
	})
	id = p.ids(p.at("disk"))[0]
	p.restored(p.at("disk"))
	return id
}

// happened is what the hooks did.
func (p *pair) happened() string {
	log, _ := os.ReadFile(p.at("log"))
	return strings.Join(strings.Fields(string(log)), " ")
}

// restored restores the only backup of a place, and compares.
func (p *pair) restored(from string) {
	p.Helper()
	p.run(0, "restore", "latest", "restored", "--from", from, "--below", p.at("source"))
	p.same(p.at("source"), p.at("restored"))
	if err := os.RemoveAll(p.at("restored")); err != nil {
		p.Fatal(err)
	}
}

// degraded looks at what a run says when the agent pending did not take the archive,
// for a reason that is a pattern.
func (p *pair) degraded(run *background, id, stored, pending, why string) {
	p.Helper()
	why = pending + ": upload: " + id + ": " + why
	if told := run.errs.String(); !regexp.MustCompile("(?m)^offsite: app: degraded: " + why + "$").MatchString(told) {
		p.Errorf("says not why it is degraded:\n%s", told)
	}
	p.told(run, id, "degraded", map[string]string{stored: "stored", pending: "pending"})
	if !p.json {
		return
	}
	got := p.report(run.out.Bytes())
	if len(got.Errors) != 1 || !regexp.MustCompile("^"+why+"$").MatchString(got.Errors[pending]) || got.Error != got.Errors[pending] {
		p.Errorf("says %q as the agents' errors, and %q as the run's", got.Errors, got.Error)
	}
}

// fine looks at what a run says that ended well.
func (p *pair) fine(run *background, id string) {
	p.Helper()
	if run.errs.Len() > 0 {
		p.Errorf("says on standard error:\n%s", run.errs.Bytes())
	}
	p.told(run, id, "ok", map[string]string{"disk": "stored", "bucket": "stored"})
}

// told looks at the result of a run.
func (p *pair) told(run *background, id, outcome string, agents map[string]string) {
	p.Helper()
	stored := 0
	standing := map[string]string{}
	for name, state := range agents {
		standing[name] = `pending: will be sent by the next run or "offsite recover"`
		if state == "stored" {
			standing[name] = `stored 24\.0 MiB`
			stored++
		}
	}
	if !p.json {
		p.lines(run.out.String(),
			"app: bucket: "+standing["bucket"],
			"app: disk: "+standing["disk"],
			fmt.Sprintf(`app: %s: %s: [0-9]+ entries, 24\.0 MiB of content, 24\.0 MiB packed, stored at %d of 2 places in .+`, outcome, id, stored),
			`get it back: offsite restore `+id+` \./restored`,
		)
		return
	}
	got := p.report(run.out.Bytes())
	if got.V != 1 || got.ID != id || got.Job != "app" || got.Outcome != outcome || !maps.Equal(got.Agents, agents) || len(got.Errors) != 2-stored {
		p.Errorf("says %s", run.out.Bytes())
	}
	if got.Size < pairSize || got.ContentSize != pairSize+int64(len("a note")) || got.Entries < 3 || got.Paused == nil {
		p.Errorf("says not what was packed: %s", run.out.Bytes())
	}
}

// lines demands that a text has these lines, which are patterns, and no others.
func (p *pair) lines(text string, want ...string) {
	p.Helper()
	if !regexp.MustCompile("^" + strings.Join(want, "\n") + "\n$").MatchString(text) {
		p.Errorf("says\n%s\nwant\n%s", text, strings.Join(want, "\n"))
	}
}

// A report is what a script relies on.
type report struct {
	V           int
	ID          string
	Job         string
	Outcome     string
	Size        int64
	SHA256      string
	ContentSize int64  `json:"content_size"`
	Entries     int64  //
	Paused      *int64 `json:"paused_millis"`
	Agents      map[string]string
	Errors      map[string]string
	Error       string
	Sent        []report // of a recover
	Left        []string
}

func (p *pair) report(line []byte) (r report) {
	p.Helper()
	if err := json.Unmarshal(line, &r); err != nil {
		p.Fatalf("%s: %v", line, err)
	}
	return r
}

// heal recovers when both places are there again, and demands that both have the
// backup, whole, and nothing else is anywhere.
func (p *pair) heal(id, agent string) {
	p.Helper()
	b := p.begin("recover")
	p.ended(b, 0)
	if p.json {
		got := p.report(b.out.Bytes())
		if len(got.Sent) != 1 || got.Sent[0].ID != id || got.Sent[0].Outcome != "ok" || got.Sent[0].Agents[agent] != "stored" || len(got.Left) > 0 {
			p.Errorf("recover says %s", b.out.Bytes())
		}
	} else {
		p.lines(b.out.String(), "earlier "+id+": "+agent+`: stored 24\.0 MiB`, "recovered: 1 of 1 backup sent")
	}
	p.whole(id)
	if told := p.run(0, "recover"); told != "recovered: nothing was left to be done\n" {
		p.Errorf("the next recover says %q", told)
	}
}

// whole demands that both places have one backup, and nothing else is anywhere.
func (p *pair) whole(id string) {
	p.Helper()
	if told := p.run(0, "list", "--json"); strings.Count(told, "\n") != 1 || !strings.Contains(told, `"id":"`+id+`"`) || !strings.Contains(told, `"agents":{"bucket":"stored","disk":"stored"}`) {
		p.Errorf("list says %s", told)
	}
	p.restored(p.at("disk"))
	p.restored(p.remote.place(p.remote.address))
	want := []string{"data/" + id + ".tar.zst", "meta/" + id + ".json"}
	if got := files(p.at("disk")); !slices.Equal(got, want) {
		p.Errorf("the directory holds %q", got)
	}
	want = []string{"app/" + want[0], "app/" + want[1]}
	if got := p.remote.objects(); !slices.Equal(got, want) {
		p.Errorf("the bucket holds %q", got)
	}
	p.clean()
}

// clean demands that nothing is left of the run but its ledger.
func (p *pair) clean() {
	p.Helper()
	if left := append(p.remote.left(), files(p.at("state", "offsite", "runs"))...); len(left) > 0 {
		p.Errorf("left: %q", left)
	}
}

// again starts the server that was stopped.
func (p *pair) again() {
	p.Helper()
	p.remote.address = p.remote.start()
	p.proxy.Forward(p.remote.address)
}
