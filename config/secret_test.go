package config_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
)

func write(t *testing.T, name string, mode os.FileMode, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMain plays the programs that give secrets.
func TestMain(m *testing.M) {
	if play := os.Getenv("CONFIG_TEST_PROGRAM"); play != "" {
		os.Exit(program(play))
	}
	os.Exit(m.Run())
}

func program(play string) int {
	switch play {
	case "echo":
		fmt.Print(strings.Join(os.Args[1:], " "))
	case "fail":
		fmt.Print("swordfish")
		fmt.Fprint(os.Stderr, "swordfish")
		return 3
	case "flood":
		_, _ = io.Copy(os.Stdout, zeros{})
	case "input":
		_, _ = io.Copy(os.Stdout, os.Stdin)
	case "hang":
		<-time.After(time.Hour)
	}
	return 0
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// reveal opens an agent with one secret and returns it.
func reveal(ctx context.Context, t *testing.T, reference string, s config.Secrets) (string, error) {
	t.Helper()
	opened, err := parse(t, theBox+"key: "+reference+"}}}\n").Agent("b").Open(ctx, s, core.Env{})
	if err != nil {
		return "", err
	}
	return opened.(*agent).config.(*box).Key.Reveal(), nil
}

// self is a reference to this program.
func self(args string) string { return fmt.Sprintf("{command: [%q%s]}", os.Args[0], args) }

func play(what string) config.Secrets {
	return config.Secrets{Env: map[string]string{"CONFIG_TEST_PROGRAM": what}}
}

func TestSecrets(t *testing.T) {
	env := func(value string) config.Secrets {
		return config.Secrets{Env: map[string]string{"KEY": value}}
	}
	file := func(text string) string { return "{file: " + write(t, "secret", 0o400, text) + "}" }
	tests := map[string]struct {
		reference string
		secrets   config.Secrets
		want      string
	}{
		"variable":                    {"{env: KEY}", env("swordfish"), "swordfish"},
		"variable with a newline":     {"{env: KEY}", env("swordfish\n"), "swordfish"},
		"dollars":                     {"{env: KEY}", env("$HOME ${KEY} $(id)"), "$HOME ${KEY} $(id)"},
		"file":                        {file("swordfish"), config.Secrets{}, "swordfish"},
		"file with a newline":         {file("swordfish\n"), config.Secrets{}, "swordfish"},
		"file with two newlines":      {file("swordfish\n\n"), config.Secrets{}, "swordfish\n"},
		"file from another system":    {file("swordfish\r\n"), config.Secrets{}, "swordfish"},
		"file with a carriage return": {file("swordfish\r"), config.Secrets{}, "swordfish\r"},
		"file with lines":             {file("one\ntwo\n"), config.Secrets{}, "one\ntwo"},
		"file with spaces":            {file(" sword fish \n"), config.Secrets{}, " sword fish "},
		"large file":                  {file(strings.Repeat("x", 64<<10)), config.Secrets{}, strings.Repeat("x", 64<<10)},
		"program":                     {self(`, sword, "$HOME"`), play("echo"), "sword $HOME"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := reveal(t.Context(), t, test.reference, test.secrets); err != nil || got != test.want {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestNoSecret(t *testing.T) {
	empty, newline := write(t, "empty", 0o600, ""), write(t, "newline", 0o600, "\n")
	large, dir := write(t, "large", 0o600, strings.Repeat("x", 64<<10+1)), t.TempDir()
	tests := map[string]struct {
		reference string
		secrets   config.Secrets
		want      string
	}{
		"no variable":             {"{env: KEY}", play("x"), "the variable KEY: is not set"},
		"empty variable":          {"{env: KEY}", config.Secrets{Env: map[string]string{"KEY": ""}}, "the variable KEY: gives an empty secret"},
		"empty file":              {"{file: " + empty + "}", config.Secrets{}, empty + ": gives an empty secret"},
		"newline":                 {"{file: " + newline + "}", config.Secrets{}, newline + ": gives an empty secret"},
		"no file":                 {"{file: " + dir + "/none}", config.Secrets{}, dir + "/none: no such file or directory"},
		"directory":               {"{file: " + dir + "}", config.Secrets{}, dir + ": is no regular file"},
		"large file":              {"{file: " + large + "}", config.Secrets{}, large + ": has more than 64 KiB"},
		"no program":              {"{command: [offsite-has-no-such-program]}", config.Secrets{}, `the program offsite-has-no-such-program: exec: "offsite-has-no-such-program": executable file not found in $PATH`},
		"program that fails":      {self(""), play("fail"), "the program " + os.Args[0] + ": exit status 3; run it by hand to see what it says"},
		"program without output":  {self(""), play("echo"), "the program " + os.Args[0] + ": gives an empty secret"},
		"program without end":     {self(""), play("flood"), "the program " + os.Args[0] + ": gives more than 64 KiB"},
		"program that asks":       {self(""), play("input"), "the program " + os.Args[0] + ": gives an empty secret"},
		"program that takes long": {self(""), config.Secrets{Env: play("hang").Env, Timeout: 50 * time.Millisecond}, "the program " + os.Args[0] + ": did not end within 50ms"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := reveal(t.Context(), t, test.reference, test.secrets)
			if err == nil || !errors.Is(err, core.ErrInvalid) || strings.Contains(err.Error(), "swordfish") {
				t.Fatalf("%v", err)
			}
			if want := "offsite.yaml:2:10: agents.b.box.key: " + test.want; err.Error() != want {
				t.Errorf("\n got %v\nwant %s", err, want)
			}
		})
	}
}

func TestProgramEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, io.ErrClosedPipe)
	defer cancel()
	if _, err := reveal(ctx, t, self(""), play("hang")); !errors.Is(err, io.ErrClosedPipe) || errors.Is(err, core.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

func TestSecretThatAnybodyReads(t *testing.T) {
	for mode, warned := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true, 0o604: true} {
		var log bytes.Buffer
		path := write(t, "secret", mode, "swordfish")
		got, err := reveal(t.Context(), t, "{file: "+path+"}", config.Secrets{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil || got != "swordfish" {
			t.Errorf("%04o: %q, %v", mode, got, err)
		}
		if told := strings.Contains(log.String(), "file="+path); told != warned || strings.Contains(log.String(), "swordfish") {
			t.Errorf("%04o: told %q", mode, log.String())
		}
	}
}
