//go:build linux

package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
)

const (
	bucket = "bench"
	id     = "20261123T045900Z-benchbenchben"
)

// A place is a kind of server to measure at.
type place struct {
	title string
	note  string // below its tables
	start func(ctx context.Context, b bench, dir string) (site, error)
}

// A site is a fresh server, and all who store at it.
type site struct {
	env   []string
	place string                              // as offsite writes it
	floor []contender                         // one plain request, where there is such a thing
	other []contender                         // rclone, with its defaults and with ours
	more  func(context.Context, *table) error // other rows of the way up, or nil
	stop  func()
}

// A contender sends the source and fetches it again.
type contender struct {
	name     string
	up, down []string // commands; that of down gets the target besides
}

// places are in the order of their tables.
var places = []place{
	{"S3 (MinIO)", "", s3},
	{"Azure (Azurite)", "", azure},
	{"SFTP (OpenSSH)", sftpNote, sftp},
	{"SFTP, 40 ms away", sftpNote, sftpFar},
	{"GCS (a server of our own)", "", gcs},
	{"local", "", local},
}

// at lets every contender store and fetch once at a fresh server, first in turn.
func (b bench) at(ctx context.Context, p place, round int, up, down *table) error {
	dir := filepath.Join(b.dir, fmt.Sprint("round-", round))
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.MkdirAll(filepath.Join(dir, "server"), 0o700); err != nil {
		return err
	}
	if err := mark(b.source); err != nil {
		return err
	}
	s, err := p.start(ctx, b, filepath.Join(dir, "server"))
	if err != nil {
		return err
	}
	defer s.stop()
	s.env = append(s.env, "RCLONE_CONFIG="+filepath.Join(dir, "none"), "OFFSITE_STATE="+filepath.Join(dir, "state"))
	all := slices.Concat(s.floor, s.other, []contender{{
		"offsite",
		[]string{b.offsite, "upload", b.source, "--quiet", "--id", id, "--to", s.place},
		[]string{b.offsite, "download", "--quiet", "--from", s.place, id},
	}})
	for _, c := range all { // the table's order is the same in each round
		up.know(c.name)
		down.know(c.name)
	}
	for i := range all {
		if err := b.try(ctx, s.env, all[(i+round)%len(all)], filepath.Join(dir, "fetched"), up, down); err != nil {
			return err
		}
	}
	if s.more == nil {
		return nil
	}
	return s.more(ctx, up)
}

func (b bench) try(ctx context.Context, env []string, c contender, target string, up, down *table) error {
	sent, err := measure(ctx, env, c.up[0], c.up[1:]...)
	if err != nil {
		return err
	}
	got, err := measure(ctx, env, c.down[0], append(slices.Clone(c.down[1:]), target)...)
	if err != nil {
		return err
	}
	if err := same(b.source, target); err != nil {
		return err
	}
	up.add(c.name, sent)
	down.add(c.name, got)
	return os.Remove(target)
}

// rclone is that program at a remote, with its defaults and with our parts.
func (b bench) rclone(remote string, up, down []string) []contender {
	copyto := func(name string, up, down []string) contender {
		return contender{name,
			slices.Concat([]string{b.rcloneProgram, "copyto"}, up, []string{b.source, remote + "/" + url.PathEscape(name)}),
			slices.Concat([]string{b.rcloneProgram, "copyto"}, down, []string{remote + "/" + url.PathEscape(name)})}
	}
	return []contender{copyto("rclone, its defaults", nil, nil), copyto("rclone, our part size and concurrency", up, down)}
}

func with(command []string, more ...string) []string { return append(slices.Clone(command), more...) }
