package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An application is paused by a hook, says so, and goes on when the test lets it.
// Each is a file of the host:
//
//	log     what happened, a word a line
//	paused  a pipe, on which the pre says that it runs
//	gate    a pipe, on which the pre waits
type application struct {
	*host
	post string // what the post does besides saying so
}

func newApplication(t *testing.T) *application {
	h := newHost(t)
	h.write(h.at("app", "notes"), []byte("a note"))
	for _, name := range []string{"paused", "gate"} {
		if err := syscall.Mkfifo(h.at(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &application{host: h, post: "true"}
}

// configure writes a configuration with a job web1 that goes to the directory
// copies, and to what is written in to and agents.
func (a *application) configure(agents, to string) {
	a.Helper()
	a.write(a.at("offsite.yaml"), fmt.Appendf(nil, `
agents:
  disk: {local: %[1]s/copies}
%[2]s
jobs:
  web1:
    paths: [%[1]s/app]
    hooks:
      - name: pause
        command:
          pre: [sh, -c, "echo pre >>log; echo >paused; read x <gate; echo went on >>log"]
          post: [sh, -c, "echo post >>log; %[3]s"]
          dir: %[1]s
    to: [disk%[4]s]
    copies: 1
    restore: {hooks: [{name: pause, command: {pre: ["true"]}}]}
`, a.dir, agents, a.post, to))
}

// begin starts a run and returns when the application is paused.
func (a *application) begin() (run *exec.Cmd, said *bytes.Buffer) {
	a.Helper()
	run, said = a.start("run", "web1")
	a.paused()
	return run, said
}

func (a *application) start(args ...string) (run *exec.Cmd, said *bytes.Buffer) {
	a.Helper()
	said = new(bytes.Buffer)
	run = a.command(args...)
	run.Stdout, run.Stderr = said, said
	if err := run.Start(); err != nil {
		a.Fatal(err)
	}
	return run, said
}

// paused waits until a hook says so.
func (a *application) paused() {
	a.Helper()
	if _, err := os.ReadFile(a.at("paused")); err != nil {
		a.Fatal(err)
	}
}

func (a *application) signal(run *exec.Cmd, s syscall.Signal) {
	a.Helper()
	if err := run.Process.Signal(s); err != nil {
		a.Fatal(err)
	}
}

// goOn lets the pre end.
func (a *application) goOn() {
	a.Helper()
	if err := os.WriteFile(a.at("gate"), []byte("go on\n"), 0o600); err != nil {
		a.Fatal(err)
	}
}

func (a *application) ended(run *exec.Cmd, said *bytes.Buffer, code int) {
	a.Helper()
	err := run.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		a.Fatal(err)
	}
	if got := run.ProcessState.ExitCode(); got != code {
		a.Fatalf("exit %d, want %d\n%s", got, code, said.Bytes())
	}
}

// logged compares what happened since it was called before.
func (a *application) logged(want ...string) {
	a.Helper()
	log, err := os.ReadFile(a.at("log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		a.Fatal(err)
	}
	if got := strings.Split(strings.TrimSpace(string(log)), "\n"); !slices.Equal(got, want) && len(log)+len(want) > 0 {
		a.Fatalf("happened %q, want %q", got, want)
	}
	_ = os.Remove(a.at("log"))
}

// says runs a command, and finds all words in what it prints, each once.
func (a *application) says(code int, command string, words ...string) {
	a.Helper()
	cmd, said := a.start(strings.Fields(command)...)
	a.ended(cmd, said, code)
	for _, word := range words {
		if n := strings.Count(said.String(), word); n != 1 {
			a.Errorf("%s says %d times %q:\n%s", command, n, word, said)
		}
	}
}

// TestPausedRunIsNotDisturbed by other commands, whatever they are.
func TestPausedRunIsNotDisturbed(t *testing.T) {
	a := newApplication(t)
	a.configure("", "")
	run, said := a.begin()
	a.goOn()
	a.ended(run, said, 0)
	a.logged("pre", "went on", "post")
	run, said = a.begin()
	a.says(0, "list", "stored")
	a.says(0, "restore latest restored --no-hooks")
	a.says(6, "restore latest restored2", "job web1 runs in another process: busy")
	a.says(6, "run web1", "job web1 runs in another process: busy", "wait until it has ended")
	a.says(0, "recover", "nothing was left to be done")
	a.says(0, "backup app --to copies")
	a.logged("pre")
	a.goOn()
	a.ended(run, said, 0)
	a.logged("went on", "post")
	a.says(0, "recover", "nothing was left to be done")
}

// TestKilledRunIsUndone by the next command that does work, and by no other.
func TestKilledRunIsUndone(t *testing.T) {
	for command, words := range map[string][]string{
		"recover":                             {": hook pause: undone\n", "recovered: 1 of 1 hook undone"},
		"recover --json":                      {`"hook":"pause","owed":false}]`, `,"killed":["`},
		"backup app --to copies":              {": hook pause: undone\n"},
		"upload app/notes --to copies --json": {`"hook":"pause","owed":false}],"killed":["`},
		"restore latest restored":             {": hook pause: undone\n"},
		"restore latest restored --json":      {`"hook":"pause","owed":false}],"killed":["`},
	} {
		t.Run(command, func(t *testing.T) {
			a := newApplication(t)
			a.configure("", "")
			run, said := a.begin()
			a.goOn()
			a.ended(run, said, 0)
			a.logged("pre", "went on", "post")
			run, said = a.begin()
			a.signal(run, syscall.SIGKILL)
			a.ended(run, said, -1)
			a.says(0, "list")
			a.logged("pre")
			a.says(0, command, append(words, "offsite: the backup of web1 with the id ", " was killed before it was made: run it again\n")...)
			a.logged("post")
			a.says(0, "recover", "nothing was left to be done")
			a.logged()
		})
	}
}

// TestKilledRunIsUndoneWithAnError, which is said once, and not tried for ever.
func TestKilledRunIsUndoneWithAnError(t *testing.T) {
	for _, command := range []string{"recover", "backup app --to copies"} {
		a := newApplication(t)
		a.post = "echo Job for app.service failed; exit 5"
		a.configure("", "")
		run, said := a.begin()
		a.signal(run, syscall.SIGKILL)
		a.ended(run, said, -1)
		a.says(3, command, "hook pause: its post FAILED, and the application may still be paused", "post: sh: exit status 5", "Job for app.service failed")
		a.logged("pre", "post")
		a.says(0, "recover")
		a.logged()
	}
}

// TestRecoverUndoesWithoutAConfiguration: what is wrong in it since then does not
// keep an application paused.
func TestRecoverUndoesWithoutAConfiguration(t *testing.T) {
	a := newApplication(t)
	a.configure("", "")
	run, said := a.begin()
	a.signal(run, syscall.SIGKILL)
	a.ended(run, said, -1)
	a.write(a.at("offsite.yaml"), []byte("agnets: {}\n"))
	a.says(2, "recover", ": hook pause: undone\n", "agnets: unknown key; is agents meant?")
	a.logged("pre", "post")
	a.says(2, "recover", "nothing was touched")
}

// TestPostStartsTheApplication in the background: it goes on when the run has ended,
// which does not wait for it, and may print as long as it likes.
func TestPostStartsTheApplication(t *testing.T) {
	for name, start := range map[string]string{
		"redirected": "nohup bin/app </dev/null >/dev/null 2>&1 &",
		"prints":     "bin/app &",
	} {
		t.Run(name, func(t *testing.T) {
			a := newApplication(t)
			a.program("start", start)
			// It prints more than a pipe holds.
			a.program("app", `read x <gate; yes | head -n 100000 && echo alive >>log; echo >paused`)
			a.post = "bin/start"
			a.configure("", "")
			run, said := a.begin()
			a.goOn()
			a.ended(run, said, 0)
			a.logged("pre", "went on", "post")
			a.says(0, "recover", "nothing was left to be done")
			a.goOn()
			a.paused() // by the application
			a.logged("alive")

			run, said = a.begin()
			a.signal(run, syscall.SIGKILL)
			a.ended(run, said, -1)
			a.says(0, "recover", ": hook pause: undone\n")
			a.logged("pre", "post")
			a.goOn()
			a.paused()
			a.logged("alive")
		})
	}
}

// TestKilledRunIsSaidWithoutAConfiguration, also where nothing is owed.
func TestKilledRunIsSaidWithoutAConfiguration(t *testing.T) {
	a := newApplication(t)
	a.write(a.at("offsite.yaml"), fmt.Appendf(nil, `
agents: {disk: {local: %[1]s/copies}}
jobs:
  web1:
    paths: [%[1]s/app]
    hooks: [{name: dump, command: {pre: [sh, -c, "echo >paused; read x <gate"], dir: %[1]s}}]
    to: [disk]
`, a.dir))
	run, said := a.begin()
	a.signal(run, syscall.SIGKILL)
	a.ended(run, said, -1)
	a.write(a.at("offsite.yaml"), []byte("agnets: {}\n"))
	a.says(2, "recover", "the backup of web1 with the id ", " was killed before it was made: run it again\n")
}

// TestApplicationOutlivesAKilledRun that died while its post ran, which had started the
// application by then: neither the time of the post nor who pays for it ends that.
func TestApplicationOutlivesAKilledRun(t *testing.T) {
	a := newApplication(t)
	for _, name := range []string{"hold", "app.gate"} {
		if err := syscall.Mkfifo(a.at(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.program("start", `test -e up || { : >up; bin/app & echo $$ >pid; echo >paused; read x <hold; }`)
	a.program("app", `read x <app.gate; yes | head -n 100000 && echo alive >>log; echo >paused; read x <app.gate`)
	a.post = "exec bin/start"
	a.configure("", "")
	run, said := a.begin()
	a.goOn()
	a.paused() // by the post, when the application is up
	number, err := os.ReadFile(a.at("pid"))
	if err != nil {
		t.Fatal(err)
	}
	post := strings.TrimSpace(string(number))
	a.wait("the guard to hear of the post", func() bool {
		argv, err := os.ReadFile("/proc/" + stat(post)[2] + "/cmdline")
		return err == nil && bytes.Contains(argv, []byte("\x00"+post+"\x00"))
	})
	a.signal(run, syscall.SIGKILL)
	a.ended(run, said, -1)
	a.write(a.at("hold"), []byte("end\n"))
	a.wait("the end of the post", func() bool { is := stat(post); return len(is) == 0 || is[0] == "Z" })
	a.says(0, "recover", ": hook pause: undone\n")
	a.logged("pre", "went on", "post", "post")
	a.write(a.at("app.gate"), []byte("go on\n"))
	a.paused() // by the application
	a.logged("alive")
	a.write(a.at("app.gate"), []byte("end\n"))
}

// stat are the fields of /proc/PID/stat behind the name, none where nothing is there.
func stat(pid string) []string {
	line, _ := os.ReadFile("/proc/" + pid + "/stat")
	return strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
}

func (a *application) wait(what string, is func() bool) {
	a.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !is(); <-tick.C {
		if time.Now().After(end) {
			a.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestRecoverUndoesWithoutOtherPrograms: a pre that is not there any more does not
// keep a post from being run.
func TestRecoverUndoesWithoutOtherPrograms(t *testing.T) {
	a := newApplication(t)
	a.program("pause", `echo >paused; read x <gate`)
	a.write(a.at("offsite.yaml"), fmt.Appendf(nil, `
agents: {disk: {local: %[1]s/copies}}
jobs:
  web1:
    paths: [%[1]s/app]
    hooks: [{name: pause, command: {pre: [%[1]s/bin/pause], post: [sh, -c, "echo post >>log"], after: [%[1]s/bin/pause], dir: %[1]s}}]
    to: [disk]
`, a.dir))
	run, said := a.begin()
	a.signal(run, syscall.SIGKILL)
	a.ended(run, said, -1)
	if err := os.Remove(a.at("bin", "pause")); err != nil {
		t.Fatal(err)
	}
	a.says(2, "config check", "hook pause: pre: "+a.at("bin", "pause")+": no such program")
	a.says(0, "recover", ": hook pause: undone\n")
	a.logged("post")
}

// TestInterruptedRunIsUndone at once, by the first signal.
func TestInterruptedRunIsUndone(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		a := newApplication(t)
		a.configure("", "")
		run, said := a.begin()
		a.signal(run, s)
		a.ended(run, said, 130)
		a.logged("pre", "post")
		if !strings.Contains(said.String(), "interrupted: posts have run") {
			t.Errorf("%v:\n%s", s, said)
		}
		a.says(0, "recover", "nothing was left to be done")
	}
}

// TestInterruptedPost: what it says is shown; and a second signal waits for nothing.
func TestInterruptedPost(t *testing.T) {
	a := newApplication(t)
	a.post = "echo Job for app.service failed; exit 5"
	a.configure("", "")
	run, said := a.begin()
	a.signal(run, syscall.SIGINT)
	a.ended(run, said, 130)
	if strings.Count(said.String(), "Job for app.service failed") != 1 {
		t.Errorf("not shown once:\n%s", said)
	}
	a.logged("pre", "post")

	a.post = "echo >paused; read x <gate"
	a.configure("", "")
	run, said = a.begin()
	a.signal(run, syscall.SIGINT)
	a.paused() // by the post
	a.signal(run, syscall.SIGINT)
	a.ended(run, said, 130)
	recover, said := a.start("recover")
	a.paused() // by the post, once more
	a.goOn()
	a.ended(recover, said, 0)
}

// TestInterruptedUpload: what was packed waits, and is sent by a recover.
func TestInterruptedUpload(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	a := newApplication(t)
	a.post = "echo >paused"
	r := minIO(t)
	a.env = r.env
	far := func(address string) {
		a.configure("  far: {s3: {bucket: tests, prefix: app, region: us-east-1, endpoint: http://"+address+"}}", ", far")
	}
	far(silent.Addr().String())
	run, said := a.begin()
	a.goOn()
	a.paused() // by the post: the archive is sealed
	a.signal(run, syscall.SIGTERM)
	a.ended(run, said, 130)
	if want := `waits for `; !strings.Contains(said.String(), want) || !strings.Contains(said.String(), "far: pending: ") {
		t.Errorf("does not say what waits:\n%s", said)
	}
	a.logged("pre", "went on", "post")
	far(r.address)
	a.says(0, "recover", ": far: stored ", "recovered: 1 of 1 backup sent")
	a.says(0, "restore latest restored --no-hooks", "restored ")
	a.logged()
}

// TestAgentThatSaysNothing takes connections and never answers: it holds up neither
// a list nor a run for longer than its patience.
func TestAgentThatSaysNothing(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	a := newApplication(t)
	r := minIO(t)
	a.env = r.env
	far := func(address string) {
		a.configure("  far: {s3: {bucket: tests, prefix: app, region: us-east-1, endpoint: http://"+address+"}, limit: 10MiB, stall: 1s, retry: 1s}", ", far")
	}
	far(silent.Addr().String())
	run, said := a.begin()
	a.goOn()
	a.ended(run, said, 3)
	a.logged("pre", "went on", "post")
	for _, line := range []string{"web1: disk: stored ", "web1: far: pending: will be sent by the next run", "web1: degraded: "} {
		if !strings.Contains(said.String(), line) {
			t.Errorf("does not say %q:\n%s", line, said)
		}
	}
	a.says(3, "list", "  unknown", "far: list: unavailable")
	a.says(3, "restore latest restored --no-hooks", "restored ")
	a.says(3, "recover", "far: pending: ")

	far(r.address)
	a.says(0, "recover", ": far: stored ", "recovered: 1 of 1 backup sent")
	a.says(0, "list")
	a.says(0, "recover", "nothing was left to be done")
	if left := r.left(); len(left) > 0 {
		t.Errorf("left at the server: %q", left)
	}
}
