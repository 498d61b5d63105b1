//go:build unix

package cli

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// child is a command line in a process of its own, whose standard error is read
// until a line has some text.
type child struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr *bufio.Reader
	seen   strings.Builder
}

func start(t *testing.T, args ...string) *child {
	cmd := exec.CommandContext(t.Context(), "offsite-faulty", args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "OFFSITE_STATE=" + t.TempDir()} // variables are options
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &child{t: t, cmd: cmd, stderr: bufio.NewReader(pipe)}
}

func (c *child) await(text string) {
	c.t.Helper()
	for {
		line, err := c.stderr.ReadString('\n')
		c.seen.WriteString(line)
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			c.t.Fatalf("%q did not come: %v in\n%s", text, err, c.seen.String())
		}
	}
}

func (c *child) signal(s os.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// ends waits for the end and returns what came on standard error.
func (c *child) ends(code int) string {
	c.t.Helper()
	rest, err := io.ReadAll(c.stderr)
	if err != nil {
		c.t.Fatal(err)
	}
	c.seen.Write(rest)
	_ = c.cmd.Wait()
	if got := c.cmd.ProcessState.ExitCode(); got != code {
		c.t.Errorf("exited with %d, not %d:\n%s", got, code, c.seen.String())
	}
	return c.seen.String()
}

func TestInterrupt(t *testing.T) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(s.String(), func(t *testing.T) {
			c := start(t, "backup", "testdata", "--to", "faulty://hanging"+t.TempDir())
			c.await("hanging")
			c.signal(s)
			stderr := c.ends(130)
			if !strings.Contains(stderr, "interrupted: a copy that is listed is whole") {
				t.Errorf("nothing says what can be gone on with:\n%s", stderr)
			}
		})
	}
}

func TestInterruptedUploadSaysHowToGoOn(t *testing.T) {
	c := start(t, "upload", "cli.go", "--to", "faulty://hanging"+t.TempDir())
	c.await("hanging")
	c.signal(os.Interrupt)
	if stderr := c.ends(130); !strings.Contains(stderr, "the same command goes on where this one stopped") {
		t.Errorf("nothing says what can be gone on with:\n%s", stderr)
	}
}

func TestSecondInterruptStopsAtOnce(t *testing.T) {
	c := start(t, "backup", "testdata", "--to", "faulty://stubborn"+t.TempDir())
	c.await("hanging")
	c.signal(os.Interrupt)
	c.await("once more stops at once")
	c.signal(os.Interrupt)
	c.ends(130)
}
