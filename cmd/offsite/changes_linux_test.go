package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestSourceChanges changes what is backed up while it is read: the archive is
// sound, each change is told, and the exit code says whether content is missing.
func TestSourceChanges(t *testing.T) {
	for name, c := range map[string]struct {
		change func(h *host) error
		code   int
		says   string
	}{
		"grows": {func(h *host) error {
			f, err := os.OpenFile(h.at("source", "a-large"), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.Write(noise(1, 1000))
			return err
		}, 0, `a-large": changed`},
		"shrinks":  {func(h *host) error { return os.Truncate(h.at("source", "a-large"), 200<<20) }, 3, `a-large": changed`},
		"vanishes": {func(h *host) error { return os.Remove(h.at("source", "small-900")) }, 0, `small-900": vanished`},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.writeLarge(h.at("source", "a-large"), 256<<20)
			for i := range 1000 {
				h.write(h.at("source", fmt.Sprintf("small-%03d", i)), []byte("x"))
			}
			told := h.during(c.code, func() error { return c.change(h) }, "backup", "source", "--to", "copies")
			if !strings.Contains(told, c.says) {
				t.Errorf("told %q, want %q in it", told, c.says)
			}
			h.untar("copies")
			h.run(0, "restore", "latest", "restored", "--from", "copies", "--below", h.at("source"))
			if c.code == 0 {
				h.same(h.at("restored"), h.at("untarred", h.at("source")))
			}
		})
	}
}

// during runs a command that must end with a code, and changes something when the
// first bytes are packed. It returns what the command says on standard error.
func (h *host) during(code int, change func() error, args ...string) string {
	h.Helper()
	cmd := h.command(args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		h.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for packed := int64(0); packed < 1<<20; packed = written(h.at("state")) {
		select {
		case <-ended:
			h.Fatalf("it ended before the change: %s", errs.Bytes())
		default:
		}
	}
	if err := change(); err != nil {
		h.Fatal(err)
	}
	<-ended
	if got := cmd.ProcessState.ExitCode(); got != code {
		h.Errorf("exit %d, want %d\n%s", got, code, errs.Bytes())
	}
	return errs.String()
}

// TestUnreadable backs up as somebody who may not read everything, with a socket
// and a pipe among it.
func TestUnreadable(t *testing.T) {
	const nobody = 65534
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("only root can become somebody else")
	}
	tmp, err := os.MkdirTemp("/tmp", "offsite-test-") // which nobody may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	h := &host{T: t, dir: tmp}
	h.write(h.at("source", "public"), []byte("public"))
	h.write(h.at("source", "secret"), []byte("secret"))
	h.write(h.at("source", "closed", "inside"), []byte("inside"))
	if err := syscall.Mkfifo(h.at("source", "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", h.at("source", "socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for _, path := range []string{"", "source", "source/public", "source/pipe"} {
		if err := os.Chown(h.at(path), nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Dir(offsite), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := h.command("backup", "source", "--to", "copies")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != 3 {
		t.Errorf("exit %d, want 3: %v\n%s", got, err, out)
	}
	for _, want := range []string{`secret": unreadable`, `closed": unreadable`, `socket": socket`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not told:\n%s", want, out)
		}
	}
	if told := h.run(0, "show", h.ids("copies")[0], "--from", "copies"); !strings.Contains(told, "2 entries that could not be read") {
		t.Errorf("the metadata does not tell what is missing:\n%s", told)
	}
	h.run(0, "restore", "latest", "restored", "--from", "copies", "--below", h.at("source"))
	if doc, err := os.ReadFile(h.at("restored", "public")); string(doc) != "public" {
		t.Errorf("what could be read: %q, %v", doc, err)
	}
	if info, err := os.Lstat(h.at("restored", "pipe")); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("the pipe: %v, %v", info, err)
	}
}
