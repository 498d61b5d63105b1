package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// rawTar builds tar streams block by block, so that they may be as bad as wanted.
type rawTar struct{ bytes.Buffer }

// add writes an entry with extended records, a header and a body, padded.
func (r *rawTar) add(name string, kind byte, link string, body []byte, records map[string]string) *rawTar {
	if len(records) > 0 {
		var ext []byte
		for _, key := range slices.Sorted(maps.Keys(records)) {
			ext = append(ext, rawRecord(key, records[key])...)
		}
		r.block("pax", 'x', "", int64(len(ext)))
		r.body(ext)
	}
	r.block(name, kind, link, int64(len(body)))
	r.body(body)
	return r
}

func rawRecord(key, value string) string {
	rest := " " + key + "=" + value + "\n"
	n := len(rest)
	for len(fmt.Sprint(n))+len(rest) != n {
		n = len(fmt.Sprint(n)) + len(rest)
	}
	return fmt.Sprint(n) + rest
}

// block writes one header of any size and type.
func (r *rawTar) block(name string, kind byte, link string, size int64) *rawTar {
	return r.blockOf(name, kind, link, size, 0o644, 0)
}

func (r *rawTar) blockOf(name string, kind byte, link string, size int64, mode, major int) *rawTar {
	var b [512]byte
	copy(b[0:100], name)
	copy(b[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00", mode, os.Getuid(), os.Getgid()))
	if size < 1<<33 {
		copy(b[124:], fmt.Sprintf("%011o\x00", size))
	} else {
		b[124] = 0x80 // base 256
		for i := range 8 {
			b[128+i] = byte(size >> (56 - 8*i))
		}
	}
	copy(b[136:], fmt.Sprintf("%011o\x00        ", 1_700_000_000))
	b[156] = kind
	copy(b[157:257], link)
	copy(b[257:], "ustar\x0000")
	copy(b[329:], fmt.Sprintf("%07o\x00%07o\x00", major, 3))
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	r.Write(b[:])
	return r
}

func (r *rawTar) body(p []byte) *rawTar {
	r.Write(p)
	r.Write(make([]byte, -len(p)&511))
	return r
}

func (r *rawTar) file(name, content string) *rawTar {
	return r.add(name, tar.TypeReg, "", []byte(content), nil)
}
func (r *rawTar) dir(name string) *rawTar { return r.blockOf(name, tar.TypeDir, "", 0, 0o755, 0) }
func (r *rawTar) soft(name, to string) *rawTar {
	return r.add(name, tar.TypeSymlink, to, nil, nil)
}
func (r *rawTar) hard(name, to string) *rawTar { return r.add(name, tar.TypeLink, to, nil, nil) }

// end is the stream with the mark of its end.
func (r *rawTar) end() []byte { return append(bytes.Clone(r.Bytes()), make([]byte, 1024)...) }

// sparseFile writes a sparse file in the format 1.0.
func (r *rawTar) sparseFile(name, size, table string, data []byte) *rawTar {
	body := append([]byte(table), make([]byte, -len(table)&511)...)
	return r.add("GNUSparseFile.0/x", tar.TypeReg, "", append(body, data...), map[string]string{
		"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name, "GNU.sparse.realsize": size,
	})
}

// A place is a target with things around it that must stay as they are.
type targetPlace struct {
	outer, target string
	before        []string
}

func newPlace(t testing.TB) *targetPlace {
	outer := t.TempDir()
	p := &targetPlace{outer: outer, target: filepath.Join(outer, "target")}
	must(t, os.Mkdir(p.target, 0o755))
	must(t, os.Mkdir(filepath.Join(outer, "outside"), 0o755))
	must(t, os.WriteFile(filepath.Join(outer, "outside", "canary"), []byte("canary"), 0o600))
	must(t, os.WriteFile(filepath.Join(outer, "canary"), []byte("canary"), 0o600))
	old := time.Unix(1_000_000_000, 0)
	for _, name := range []string{"outside/canary", "outside", "canary"} {
		must(t, os.Chtimes(filepath.Join(outer, name), old, old))
	}
	p.before = p.around(t)
	return p
}

// around describes all that lies beside the target.
func (p *targetPlace) around(t testing.TB) (all []string) {
	must(t, filepath.WalkDir(p.outer, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == p.outer {
			return err
		}
		if path == p.target {
			return filepath.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		if info.Mode().IsRegular() {
			content, err = os.ReadFile(path)
		}
		all = append(all, fmt.Sprint(path, info.Mode(), info.ModTime().UnixNano(), info.Sys(), string(content)))
		return err
	}))
	// The access time may move by looking; all else may not.
	for i, line := range all {
		all[i] = atime(line)
	}
	return all
}

func atime(line string) string {
	return line[:strings.LastIndex(line, "&{")] + line[strings.LastIndex(line, "}"):]
}

// untouched fails when anything outside the target changed.
func (p *targetPlace) untouched(t testing.TB) {
	t.Helper()
	if now := p.around(t); !slices.Equal(now, p.before) {
		t.Errorf("outside the target: %q, was %q", now, p.before)
	}
}

// extract restores a stream into the place, and returns the oddities' words.
func (p *targetPlace) extract(t testing.TB, stream io.Reader, o ExtractOptions) (ExtractStats, []string, error) {
	t.Helper()
	root, err := os.OpenRoot(p.target)
	must(t, err)
	defer root.Close()
	var odd []string
	o.Report = func(o Oddity) { odd = append(odd, o.String()) }
	stats, err := Extract(context.Background(), stream, root, o)
	if stats.Odd != int64(len(odd)) {
		t.Errorf("%d oddities counted, %d reported", stats.Odd, len(odd))
	}
	return stats, odd, err
}

func (p *targetPlace) path(name string) string { return filepath.Join(p.target, name) }

// holds fails when the target has other names and contents: "name=content" for
// files, "name/" for directories, "name>target" for symbolic links.
func (p *targetPlace) holds(t testing.TB, want ...string) {
	t.Helper()
	got := []string{}
	must(t, filepath.WalkDir(p.target, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == p.target {
			return err
		}
		name, err := filepath.Rel(p.target, path)
		must(t, err)
		switch {
		case d.IsDir():
			name += "/"
		case d.Type()&os.ModeSymlink != 0:
			to, err := os.Readlink(path)
			must(t, err)
			name += ">" + to
		case d.Type().IsRegular():
			info, err := d.Info()
			must(t, err)
			if info.Size() > 64<<20 {
				name += fmt.Sprintf(" of %d bytes", info.Size())
				break
			}
			content, err := os.ReadFile(path)
			must(t, err)
			name += "=" + string(content)
		default:
			name += " " + d.Type().String()
		}
		got = append(got, name)
		return nil
	}))
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the target has %q, want %q", got, want)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err error, kind error, words string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(fmt.Sprint(err), words) {
		t.Errorf("error %v, want kind %q and %q", err, kind, words)
	}
}
