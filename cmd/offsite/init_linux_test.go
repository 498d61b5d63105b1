package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestConfigurationsToBeginWith work: the one that init writes, and that of the
// README, when no more is changed in them than a user has to.
func TestConfigurationsToBeginWith(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	short := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(readme)
	if short == nil {
		t.Fatal("the README has no configuration")
	}
	r := minIO(t)
	for name, text := range map[string][]byte{"init": nil, "README": short[1]} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.env = append(r.env, "PATH="+h.at("bin")+":"+os.Getenv("PATH"))
			h.program("pg_dump", `for a; do case $a in --file=*) echo dumped >"${a#--file=}" ;; esac; done`)
			h.program("systemctl", `echo "$@" >>`+h.at("log"))
			h.write(h.at("app", "notes"), []byte("a note"))
			h.write(h.at("etc", "app.conf"), []byte("a = b"))
			if text == nil {
				h.run(0, "init")
				h.run(0, "config", "check")
				if text, err = os.ReadFile(h.at("offsite.yaml")); err != nil {
					t.Fatal(err)
				}
			}
			h.write(h.at("offsite.yaml"), []byte(strings.NewReplacer(
				"/srv/backups", h.at("copies"), "/var/lib/app", h.at("app"), "/etc/app", h.at("etc"),
				"acme-backups", "tests", "prefix: web1", "prefix: "+name,
				"region: eu-central-1}", "region: us-east-1, endpoint: http://"+r.address+"}",
				"region: eu-central-1\n", "region: us-east-1\n", "#endpoint: https://minio.example.com", "endpoint: http://"+r.address,
			).Replace(string(text))))
			h.run(0, "config", "check")
			h.run(0, "run")
			h.run(0, "recover")
			if got := h.run(0, "list", "--json"); !strings.Contains(got, `"agents":{"disk":"stored","offsite":"stored"}`) {
				t.Errorf("not at both places:\n%s", got)
			}
			if log, err := os.ReadFile(h.at("log")); err != nil || string(log) != "stop app\nstart app\n" {
				t.Errorf("the application was told %q, %v", log, err)
			}
			h.run(0, "restore", "latest", "restored", "--job", "web1")
			h.same(h.at("app"), h.at("restored"+h.at("app")))
			if dump, err := os.ReadFile(h.at("restored/hooks/database/app.dump")); err != nil || string(dump) != "dumped\n" {
				t.Errorf("the dump is %q, %v", dump, err)
			}
		})
	}
}

// program makes a program of a shell's lines.
func (h *host) program(name, lines string) {
	h.Helper()
	h.write(h.at("bin", name), []byte("#!/bin/sh\n"+lines+"\n"))
	if err := os.Chmod(h.at("bin", name), 0o700); err != nil {
		h.Fatal(err)
	}
}
