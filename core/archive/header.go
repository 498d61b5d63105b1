package archive

import (
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// The types of tar entries that are written (POSIX.1-2017, pax, "ustar
// Interchange Format").
const (
	typeRegular  = '0'
	typeHardLink = '1'
	typeSymlink  = '2'
	typeChar     = '3'
	typeBlock    = '4'
	typeDir      = '5'
	typeFIFO     = '6'
	typeExtended = 'x'
)

const (
	blockSize = 512 // of tar; headers and contents are padded to it
	nameField = 100 // bytes of a name, and of a link, in a ustar header
	userField = 32  // bytes of a user's or group's name
)

// maxRecords is the most bytes of extended records of one entry that archive/tar
// reads.
const maxRecords = 1 << 20

// A header is what tar says of one entry before its content.
//
// archive/tar reads these headers but cannot write them: it drops the records of
// sparse files without an error and refuses extended attributes with a '=' in
// their names.
type header struct {
	kind         byte
	name         string
	link         string
	mode         fs.FileMode
	size         int64 // bytes of content that follow, without the padding
	mtime        time.Time
	uid, gid     int
	user, group  string
	major, minor int64
	xattrs       []record
	sparse       *sparse
}

// A record is one extended record, or one extended attribute.
type record struct{ key, value string }

// append adds h to b: an extended header where the ustar header cannot hold
// everything, the ustar header, and the map of a sparse file.
func (h *header) append(b []byte) []byte {
	name := h.name
	if h.kind == typeDir {
		name += "/"
	}
	var ext []byte
	for _, r := range h.records(name) {
		ext = appendRecord(ext, r)
	}
	if len(ext) > 0 {
		b = appendBlock(b, &header{kind: typeExtended, size: int64(len(ext)), mtime: time.Unix(0, 0)}, "PaxHeaders.0/"+baseName(h.name))
		b = pad(append(b, ext...))
	}
	if h.sparse != nil {
		// What pax tells readers that know nothing of sparse files to call it.
		name = "GNUSparseFile.0/" + baseName(h.name)
	}
	b = appendBlock(b, h, name)
	if h.sparse != nil {
		b = pad(h.sparse.appendMap(b))
	}
	return b
}

// records are the extended records that h needs.
func (h *header) records(name string) (rs []record) {
	add := func(need bool, key, value string) {
		if need {
			rs = append(rs, record{key, value})
		}
	}
	if h.sparse == nil {
		add(!fits(name, nameField), "path", name)
	}
	add(!fits(h.link, nameField), "linkpath", h.link)
	add(!fits(h.user, userField), "uname", h.user)
	add(!fits(h.group, userField), "gname", h.group)
	add(!fitsOctal(int64(h.uid), 8), "uid", strconv.Itoa(h.uid))
	add(!fitsOctal(int64(h.gid), 8), "gid", strconv.Itoa(h.gid))
	add(!fitsOctal(h.size, 12), "size", strconv.FormatInt(h.size, 10))
	add(h.mtime.Nanosecond() != 0 || !fitsOctal(h.mtime.Unix(), 12), "mtime", paxTime(h.mtime))
	if h.sparse != nil {
		rs = append(rs, h.sparse.records(name)...)
	}
	for _, x := range h.xattrs {
		rs = append(rs, record{xattrPrefix + xattrKey.Replace(x.key), x.value})
	}
	return rs
}

const xattrPrefix = "SCHILY.xattr."

// xattrKey writes the name of an attribute so that it can stand before the '='
// of a record, as GNU tar does since 1.29 (xheader.c, xattr_encode_keyword).
var xattrKey = strings.NewReplacer("%", "%25", "=", "%3D")

// appendRecord adds a record, which begins with its own length.
func appendRecord(b []byte, r record) []byte {
	n := len(" =\n") + len(r.key) + len(r.value)
	size := n + len(strconv.Itoa(n))
	size = n + len(strconv.Itoa(size)) // the length's own digits may make it longer
	b = strconv.AppendInt(b, int64(size), 10)
	b = append(b, ' ')
	b = append(b, r.key...)
	b = append(b, '=')
	b = append(b, r.value...)
	return append(b, '\n')
}

// appendBlock adds the ustar header. What does not fit its fields is cut there
// and stands in an extended record.
func appendBlock(b []byte, h *header, name string) []byte {
	b = append(b, make([]byte, blockSize)...)
	blk := b[len(b)-blockSize:]
	text(blk[0:100], name)
	octal(blk[100:108], int64(unixMode(h.mode)&0o7777))
	octal(blk[108:116], int64(h.uid))
	octal(blk[116:124], int64(h.gid))
	octal(blk[124:136], h.size)
	octal(blk[136:148], h.mtime.Unix())
	copy(blk[148:156], "        ")
	blk[156] = h.kind
	text(blk[157:257], h.link)
	copy(blk[257:265], "ustar\x0000")
	text(blk[265:297], h.user)
	text(blk[297:329], h.group)
	octal(blk[329:337], h.major)
	octal(blk[337:345], h.minor)
	var sum int64
	for _, c := range blk {
		sum += int64(c)
	}
	octal(blk[148:155], sum) // six digits, NUL, and the space that is there
	return b
}

// text fills a field with the ASCII characters of s, as far as they fit.
func text(field []byte, s string) {
	for i := 0; i < len(s) && len(field) > 0; i++ {
		if s[i] < 0x80 {
			field[0] = s[i]
			field = field[1:]
		}
	}
}

// octal fills a field with v and a NUL, or with zero where v does not fit.
func octal(field []byte, v int64) {
	if !fitsOctal(v, len(field)) {
		v = 0
	}
	field[len(field)-1] = 0
	for i := len(field) - 2; i >= 0; i-- {
		field[i] = '0' + byte(v&7)
		v >>= 3
	}
}

func fitsOctal(v int64, field int) bool {
	return v >= 0 && v < 1<<(3*(field-1))
}

// fits says whether s can stand in a field of a ustar header as it is.
func fits(s string, field int) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return len(s) <= field
}

// paxTime writes a time as pax wants it: seconds with a decimal fraction.
func paxTime(t time.Time) string {
	sec, nsec, sign := t.Unix(), t.Nanosecond(), ""
	if sec < 0 {
		sign = "-"
		sec = -sec
		if nsec > 0 {
			sec, nsec = sec-1, 1e9-nsec
		}
	}
	s := sign + strconv.FormatInt(sec, 10)
	if nsec == 0 {
		return s
	}
	frac := strconv.Itoa(1e9 + nsec)[1:]
	return s + "." + strings.TrimRight(frac, "0")
}

// pad fills the last block with zeros. b begins at a block.
func pad(b []byte) []byte {
	return append(b, zeros[:padding(int64(len(b)))]...)
}

// padding is how many bytes n lacks to a whole number of blocks.
func padding(n int64) int64 { return -n & (blockSize - 1) }

// zeros are written where a file has none of its own. Nobody changes them.
var zeros = make([]byte, 32<<10)

func baseName(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// Unix's words for the type of a file, which a table of contents uses (POSIX
// leaves the values open; every system that matters has these).
const (
	unixFIFO    = 0o010000
	unixChar    = 0o020000
	unixDir     = 0o040000
	unixBlock   = 0o060000
	unixRegular = 0o100000
	unixSymlink = 0o120000
	unixType    = 0o170000
)

var fileTypes = []struct {
	mode fs.FileMode
	unix uint32
	kind byte
}{
	{0, unixRegular, typeRegular},
	{fs.ModeDir, unixDir, typeDir},
	{fs.ModeSymlink, unixSymlink, typeSymlink},
	{fs.ModeNamedPipe, unixFIFO, typeFIFO},
	{fs.ModeDevice | fs.ModeCharDevice, unixChar, typeChar},
	{fs.ModeDevice, unixBlock, typeBlock},
}

var modeBits = []struct {
	mode fs.FileMode
	unix uint32
}{
	{fs.ModeSetuid, 0o4000},
	{fs.ModeSetgid, 0o2000},
	{fs.ModeSticky, 0o1000},
}

// kindOf is the type of a file in tar, or 0 where tar has none.
func kindOf(m fs.FileMode) byte {
	for _, t := range fileTypes {
		if m.Type() == t.mode {
			return t.kind
		}
	}
	return 0
}

// unixMode is a mode as stat(2) has it.
func unixMode(m fs.FileMode) uint32 {
	u := uint32(m.Perm())
	for _, t := range fileTypes {
		if m.Type() == t.mode {
			u |= t.unix
		}
	}
	for _, b := range modeBits {
		if m&b.mode != 0 {
			u |= b.unix
		}
	}
	return u
}

// fileMode reads what unixMode wrote.
func fileMode(u uint32) (m fs.FileMode, ok bool) {
	for _, t := range fileTypes {
		if u&unixType == t.unix {
			m, ok = t.mode, true
		}
	}
	for _, b := range modeBits {
		if u&b.unix != 0 {
			m |= b.mode
		}
	}
	return m | fs.FileMode(u&0o777), ok && u>>16 == 0
}
