package archive

import (
	"archive/tar"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	setIDBits  = 0o6000
	stickyBits = 0o7777 &^ setIDBits // with the permissions

	accessACL = "system.posix_acl_access"
)

// extractMeta is what a thing gets besides its content.
type extractMeta struct {
	sec   int64 // of the time of the last change
	nsec  int32
	mode  uint32 // permission, setuid, setgid and sticky bits as in stat(2)
	uid   int
	gid   int
	link  bool          // a symbolic link has no mode of its own
	attrs []extractAttr // sorted by name
}

func (m *extractMeta) modTime() time.Time { return time.Unix(m.sec, int64(m.nsec)) }

// An extractAttr is an extended attribute.
type extractAttr struct{ name, value string }

func (x *extraction) metaOf(e *extractEntry) extractMeta {
	h := e.hdr
	m := extractMeta{
		sec: h.ModTime.Unix(), nsec: int32(h.ModTime.Nanosecond()),
		mode: uint32(h.Mode) & 0o7777, uid: h.Uid, gid: h.Gid,
		link: h.Typeflag == tar.TypeSymlink,
	}
	attrs := map[string]string{}
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			name = gnuName.Replace(name)
			if _, twice := attrs[name]; !twice {
				attrs[name] = value
			}
		} else if name, ok := strings.CutPrefix(key, "LIBARCHIVE.xattr."); ok {
			if err := decodeAttr(attrs, name, value); err != nil {
				x.odd(Oddity{Path: e.rel, What: "extended attribute not understood", Err: err})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		m.attrs = append(m.attrs, extractAttr{name, attrs[name]})
	}
	return m
}

// gnuName undoes what GNU tar does to the two characters that the name of an
// attribute cannot have in a record's key.
var gnuName = strings.NewReplacer("%3D", "=", "%25", "%")

// decodeAttr reads an attribute as libarchive writes it.
func decodeAttr(attrs map[string]string, name, value string) error {
	name, err := url.PathUnescape(name)
	if err != nil {
		return err
	}
	plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
	if err != nil {
		return err
	}
	attrs[name] = string(plain)
	return nil
}

// describe gives a thing its owner, attributes, mode and time, in this order: a
// new owner clears setuid bits and capabilities, attributes need the right to
// write, and all of it changes times. fd is the open thing, or noFD for what is
// not opened: symbolic links, FIFOs and devices.
func (x *extraction) describe(rel string, dir extractDir, base string, fd int, m *extractMeta) {
	odd := func(what string, err error) {
		if err != nil {
			x.odd(Oddity{Path: rel, What: what, Err: err})
		}
	}
	setID := x.o.SetID
	if x.o.Owners {
		err := dir.chown(base, m.uid, m.gid)
		odd("owner not restored", err)
		setID = setID && err == nil // not for somebody else's rights
	}
	bits := x.attach(rel, dir, base, fd, m, setID)
	if bits&setIDBits != 0 && !setID && !m.link {
		odd("setuid or setgid bit left out", errNotAsked)
		bits &= stickyBits
	}
	if !m.link {
		odd("mode not restored", dir.chmod(base, fd, bits))
	}
	odd("time not restored", dir.chtimes(base, m.modTime()))
}

// attach restores the attributes and returns the mode's bits that go with those
// that could be.
func (x *extraction) attach(rel string, dir extractDir, base string, fd int, m *extractMeta, setID bool) (bits uint32) {
	bits = m.mode
	var leftOut []string
	for _, a := range m.attrs {
		err := errNotAsked
		if !x.asked(a.name, setID) {
			leftOut = append(leftOut, a.name)
		} else if err = dir.setAttr(base, fd, a); err != nil {
			x.odd(Oddity{Path: rel, What: "attribute " + a.name + " not restored", Err: err})
		}
		if err != nil && a.name == accessACL {
			bits &^= (7 &^ groupOf(a.value)) << 3
		}
	}
	if leftOut != nil {
		x.odd(Oddity{Path: rel, What: "attributes left out", Err: fmt.Errorf("%s: %w", strings.Join(leftOut, ", "), errNotAsked)})
	}
	return bits
}

var errNotAsked = errors.New("not asked for")

// asked says whether an attribute may be restored. Of the classes that Linux has,
// all but user give rights: system to other users and groups, by ACLs, and trusted
// and security to programs, or they speak for the system (xattr(7)).
func (x *extraction) asked(name string, setID bool) bool {
	switch class, _, _ := strings.Cut(name, "."); class {
	case "system":
		return x.o.Owners
	case "trusted", "security":
		return setID
	}
	return true
}

// groupOf returns the permissions that an access ACL gives to the owning group. The
// mode has in their place the most that anybody in the ACL may have, which the
// group must not get when the ACL is not there (linux/posix_acl_xattr.h, acl(5)).
func groupOf(acl string) uint32 {
	for i := 4; i+8 <= len(acl); i += 8 {
		if acl[i] == 4 && acl[i+1] == 0 { // ACL_GROUP_OBJ
			return uint32(acl[i+2]) & 7
		}
	}
	return 0
}
