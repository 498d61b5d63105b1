package archive

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A hostile archive gives nobody rights that were not asked for, however it spells
// the attribute and whatever it gives it to.
func TestExtractAttributesUnasked(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	hostile := map[string]string{
		"SCHILY.xattr.system.posix_acl_access":         acl,
		"LIBARCHIVE.xattr.system%2Eposix%5Facl_access": b64([]byte(acl)),
		"SCHILY.xattr.trusted.overlay.opaque":          "y",
		"LIBARCHIVE.xattr.%74rusted.other":             b64([]byte("y")),
		"SCHILY.xattr.security.selinux":                "system_u:object_r:bin_t:s0",
		"SCHILY.xattr." + capability:                   netRaw,
		"SCHILY.xattr.user.a":                          "harmless",
	}
	withDefault := map[string]string{"SCHILY.xattr.system.posix_acl_default": acl}
	for key, value := range hostile {
		withDefault[key] = value
	}
	stream := new(rawTar).add("f", tar.TypeReg, "", []byte("x"), hostile).
		add("large", tar.TypeReg, "", make([]byte, extractSmall+1), hostile).
		add("d", tar.TypeDir, "", nil, withDefault).
		add("l", tar.TypeSymlink, "f", nil, map[string]string{"SCHILY.xattr.trusted.other": "y"}).
		add("p", tar.TypeFifo, "", nil, map[string]string{"SCHILY.xattr.system.posix_acl_access": acl}).end()
	p := newPlace(t)
	stats, odd, err := p.extract(t, bytes.NewReader(stream), ExtractOptions{})
	must(t, err)
	if stats.Entries != 5 || stats.Odd != 5 || stats.Lost != 0 {
		t.Errorf("%+v", stats)
	}
	for _, line := range odd {
		if !strings.Contains(line, ": attributes left out: ") || !strings.HasSuffix(line, ": not asked for") {
			t.Error(line)
		}
	}
	for name, want := range map[string]string{"f": "user.a\x00", "large": "user.a\x00", "d": "user.a\x00", "l": "", "p": ""} {
		if got := attributesOf(t, p.path(name)); got != want {
			t.Errorf("%s has attributes %q, want %q", name, got, want)
		}
	}
}

// attributesOf lists them. What the system sets of itself, such as security.selinux, is not counted.
func attributesOf(t *testing.T, path string) string {
	t.Helper()
	list := make([]byte, 4096)
	n, err := unix.Llistxattr(path, list)
	must(t, err)
	return strings.ReplaceAll(string(list[:n]), "security.selinux\x00", "")
}

// Each class of attributes comes with the option that stands for it.
func TestExtractAttributesAsked(t *testing.T) {
	stream := new(rawTar).add("f", tar.TypeReg, "", nil, map[string]string{
		"SCHILY.xattr." + accessACL: acl, "SCHILY.xattr.trusted.a": "y", "SCHILY.xattr." + capability: netRaw,
	}).end()
	root := os.Getuid() == 0
	tests := []struct {
		o       ExtractOptions
		want    string
		refused int // by the system, of one who is not root
	}{
		{ExtractOptions{}, "", 0},
		{ExtractOptions{Owners: true}, accessACL, 0},
		{ExtractOptions{SetID: true}, capability + " trusted.a", 2},
		{ExtractOptions{Owners: true, SetID: true}, accessACL + " " + capability + " trusted.a", 2},
	}
	for _, test := range tests {
		p := newPlace(t)
		_, odd, err := p.extract(t, bytes.NewReader(stream), test.o)
		must(t, err)
		leftOut := 1
		if test.o.Owners && test.o.SetID {
			leftOut = 0
		}
		if root {
			test.refused = 0
		}
		if len(odd) != leftOut+test.refused {
			t.Errorf("%+v: %q", test.o, odd)
		}
		for _, name := range []string{accessACL, capability, "trusted.a"} {
			_, err := unix.Lgetxattr(p.path("f"), name, nil)
			want := strings.Contains(test.want, name) && (root || name == accessACL)
			if (err == nil) != want {
				t.Errorf("%+v: %s: %v", test.o, name, err)
			}
		}
	}
}

// Without its ACL a file gives its group no more than the ACL did.
func TestExtractWithoutACL(t *testing.T) {
	readers := strings.Replace(acl, "\x04\x00\x00\x00", "\x04\x00\x04\x00", 1) // group::r--
	for _, test := range []struct {
		acl  string
		mode os.FileMode
	}{{acl, 0o604}, {readers, 0o644}, {"", 0o604}, {acl[:27], 0o604}} {
		r := new(rawTar)
		records := rawRecord("SCHILY.xattr."+accessACL, test.acl)
		r.block("pax", 'x', "", int64(len(records))).body([]byte(records)).blockOf("f", tar.TypeReg, "", 0, 0o664, 0)
		p := newPlace(t)
		_, odd, err := p.extract(t, bytes.NewReader(r.end()), ExtractOptions{})
		must(t, err)
		mode(t, p.path("f"), test.mode, 0, false)
		if len(odd) != 1 {
			t.Errorf("%q", odd)
		}
	}
}
