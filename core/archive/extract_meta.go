package archive

import (
	"archive/tar"
	"encoding/base64"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	setIDBits  = 0o6000
	stickyBits = 0o7777 &^ setIDBits // with the permissions

	capability = "security.capability"
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
	bits := m.mode
	setID := x.o.SetID
	if x.o.Owners {
		err := dir.chown(base, m.uid, m.gid)
		odd("owner not restored", err)
		setID = setID && err == nil // not for somebody else's rights
	}
	for _, a := range m.attrs {
		if a.name == capability && !setID {
			odd("file capability left out", errNotAsked)
			continue
		}
		odd("attribute "+a.name+" not restored", dir.setAttr(base, fd, a))
	}
	if bits&setIDBits != 0 && !setID && !m.link {
		odd("setuid or setgid bit left out", errNotAsked)
		bits &= stickyBits
	}
	if !m.link {
		odd("mode not restored", dir.chmod(base, fd, bits))
	}
	odd("time not restored", dir.chtimes(base, m.modTime()))
}

var errNotAsked = errors.New("not asked for")
