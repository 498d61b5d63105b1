package config_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/agents/local"
	"github.com/offsite-backup/offsite/config"
	"github.com/offsite-backup/offsite/core"
)

const full = `
agents:
  disk:    {local: /srv/backups}
  offsite: {s3: {bucket: acme-backups, prefix: "2024", path_style: false, part_size: 32MiB, lock_for: 30d, ca_bundle: /etc/ca.pem}, limit: 10MiB, stall: 2m, retry: 1h30m, total: 1d}
  nas:
    box:
      host: nas.lan
      dir: /volume1/web1
      key: {file: /etc/offsite/nas.key}
      verify: true
      strict: False
      part_size: 5242880
      keep_alive: 250ms
      known_hosts: [one, two]
      args: [-v, "", "5432", $HOME, 2024-01-01, yes, "<<"]
      labels: {a: "", B: ~root}
      tokens: {t: {env: TOKEN}}
      vars: {plain: db, hidden: {env: TOKEN}}
      tls: {min_version: "1.3"}

jobs:
  web1:
    paths: [/var/lib/app, /etc/app]
    exclude: ["*.tmp", "cache/"]
    allow_empty: true
    hooks:
      - name: database
        command: {pre: [pg_dump, -Fc, -f, "{dir}/app.dump", app]}
        timeout: 10m
      - name: pause-app
        command: {pre: [systemctl, stop, app], post: [systemctl, start, app]}
        optional: true
    max_pause: 15m
    to: [disk, offsite, nas]
    copies: 2
    require: [offsite]
    tags: {stage: production}
    keep_pending: 14d
    restore:
      hooks:
        - name: pause-app
          command: {pre: [systemctl, stop, app], post: [systemctl, start, app]}
  dump:
    hooks:
      - {name: database, command: {pre: [pg_dump]}}
    to: [disk]
`

func TestParse(t *testing.T) {
	f, err := kinds().Parse("offsite.yaml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	off := new(bool)
	wantAgents := []struct {
		kind    string
		config  core.Config
		options config.AgentOptions
	}{
		{"local", &local.Config{Dir: "/srv/backups"}, config.AgentOptions{}},
		{
			"s3",
			&bucket{Bucket: "acme-backups", Prefix: "2024", PathStyle: off, PartSize: 32 << 20, LockFor: 720 * time.Hour, CABundle: "/etc/ca.pem"},
			config.AgentOptions{Limit: 10 << 20, Patience: core.Patience{Stall: 2 * time.Minute, Retry: 90 * time.Minute, Total: 24 * time.Hour}},
		},
		{"box", &box{
			Host: "nas.lan", Port: 22, Dir: "/volume1/web1", Verify: true, Strict: off,
			PartSize: 5 << 20, KeepAlive: 250 * time.Millisecond,
			KnownHosts: []string{"one", "two"},
			Args:       []string{"-v", "", "5432", "$HOME", "2024-01-01", "yes", "<<"},
			Labels:     map[string]string{"a": "", "B": "~root"},
			Tokens:     map[string]core.Secret{"t": {}},
			Vars:       map[string]any{"plain": "db", "hidden": core.Secret{}},
			TLS:        struct{ MinVersion string }{"1.3"},
		}, config.AgentOptions{}},
	}
	if len(f.Agents) != len(wantAgents) {
		t.Fatalf("%d agents", len(f.Agents))
	}
	for i, want := range wantAgents {
		got := f.Agents[i]
		if got.Kind != want.kind || !reflect.DeepEqual(got.Config, want.config) || got.AgentOptions != want.options {
			t.Errorf("agent %s:\n got %v %+v %+v\nwant %+v", got.Name, got.Kind, got.Config, got.AgentOptions, want)
		}
	}
	j, err := f.Job("web1")
	if err != nil {
		t.Fatal(err)
	}
	got := []any{j.Name, j.Paths, j.Exclude, j.AllowEmpty, j.MaxPause, j.To, j.Copies, j.Require, j.Tags, j.KeepPending, len(j.Hooks), j.Hooks[0].HookOptions, j.Hooks[1].HookOptions, len(j.Restore.Hooks)}
	want := []any{
		"web1", []string{"/var/lib/app", "/etc/app"}, []string{"*.tmp", "cache/"}, true, 15 * time.Minute,
		[]string{"disk", "offsite", "nas"}, 2, []string{"offsite"}, core.Tags{"stage": "production"}, 14 * 24 * time.Hour,
		2, config.HookOptions{Name: "database", Timeout: 10 * time.Minute}, config.HookOptions{Name: "pause-app", Optional: true}, 1,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("job:\n got %v\nwant %v", got, want)
	}
	if j, err = f.Job("dump"); err != nil || j.KeepPending != 7*24*time.Hour {
		t.Errorf("archives of a job that does not say wait for %v, %v", j.KeepPending, err)
	}
	if f.Agent("nas") != &f.Agents[2] || f.Agent("none") != nil {
		t.Error("the agent of a name is another one")
	}
}

func TestMappingFormOfADirectory(t *testing.T) {
	f, err := kinds().Parse("offsite.yaml", []byte("agents: {disk: {local: {dir: /srv/backups}}}"))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Agents[0].Config.Place(); got != "local:/srv/backups" {
		t.Errorf("place %s", got)
	}
}

func TestNoJob(t *testing.T) {
	f, err := kinds().Parse("offsite.yaml", []byte("agents: {disk: {local: /srv}}"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Job("web1"); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "offsite.yaml has no jobs") {
		t.Errorf("%v", err)
	}
	if f, err = kinds().Parse("offsite.yaml", []byte(full)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Job("web2"); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), `no job "web2"; is web1 meant?`) {
		t.Errorf("%v", err)
	}
}

func TestByteOrderMark(t *testing.T) {
	if _, err := kinds().Parse("offsite.yaml", []byte("\ufeffagents: {disk: {local: /srv}}")); err != nil {
		t.Error(err)
	}
}
